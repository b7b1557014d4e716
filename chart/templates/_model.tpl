{{/* The model: its place on the Hub, its file on the claim, and the container that fetches it. */}}

{{/* `owner/name`: with an owner alone, the first part of `model.file` is the repository's name. */}}
{{- define "llamacpp-app.hubRepo" -}}
{{- if contains "/" .Values.model.repo -}}
{{- .Values.model.repo -}}
{{- else -}}
{{- printf "%s/%s" .Values.model.repo (splitList "/" .Values.model.file | first) -}}
{{- end -}}
{{- end -}}

{{/* The file's path inside the repository, which is also its path below `model.path`. */}}
{{- define "llamacpp-app.hubFile" -}}
{{- if contains "/" .Values.model.repo -}}
{{- .Values.model.file -}}
{{- else -}}
{{- splitList "/" .Values.model.file | rest | join "/" -}}
{{- end -}}
{{- end -}}

{{/* The folder of this model's files on the claim. */}}
{{- define "llamacpp-app.modelDir" -}}
{{- list .Values.model.path .Values.model.dir | compact | join "/" -}}
{{- end -}}

{{- define "llamacpp-app.modelFile" -}}
{{- if .Model -}}
{{- .Model.served -}}
{{- else if .Values.model.localFile -}}
{{- printf "%s/%s" .Values.model.path .Values.model.localFile -}}
{{- else -}}
{{- printf "%s/%s" (include "llamacpp-app.modelDir" .) (include "llamacpp-app.hubFile" .) -}}
{{- end -}}
{{- end -}}

{{- define "llamacpp-app.digests" -}}
{{- with .Values.model.sha256 }}
{{ include "llamacpp-app.hubFile" $ }}={{ lower . }}
{{- end }}
{{- range $file, $digest := .Values.model.extraSha256 }}
{{ $file }}={{ lower $digest }}
{{- end }}
{{- end -}}

{{/* What is fetched, as JSON. The pod's template changes with it, so that the server restarts for a new model. */}}
{{- define "llamacpp-app.modelEnv" -}}
{{- /* A registry's tag or digest is in its reference; `main` is the Hub's branch. */ -}}
{{- $isRegistry := and (hasPrefix "oci://" .Values.model.repo) (eq .Values.model.revision "main") -}}
{{- if .Values.models -}}
{{- list
    (dict "name" "MODELFETCH_MANIFEST" "value" "/etc/modelfetch/models/models.toml")
    (dict "name" "MODELFETCH_DIR" "value" .Values.model.path) | toJson -}}
{{- else -}}
{{- $env := list
    (dict "name" "MODELFETCH_REPO" "value" (include "llamacpp-app.hubRepo" .))
    (dict "name" "MODELFETCH_FILES" "value" (prepend .Values.model.extraFiles (include "llamacpp-app.hubFile" .) | join "\n"))
    (dict "name" "MODELFETCH_DIR" "value" (include "llamacpp-app.modelDir" .)) -}}
{{- if not $isRegistry -}}
{{- $env = append $env (dict "name" "MODELFETCH_REVISION" "value" .Values.model.revision) -}}
{{- end -}}
{{- with include "llamacpp-app.digests" . | trim -}}
{{- $env = append $env (dict "name" "MODELFETCH_SHA256" "value" .) -}}
{{- end -}}
{{- toJson $env -}}
{{- end -}}
{{- end -}}

{{/* Folder of the registry's login. */}}
{{- define "llamacpp-app.registryAuthPath" -}}/etc/modelfetch/registry{{- end -}}

{{/* "true" when something is to be known of the model before it is fetched. */}}
{{- define "llamacpp-app.checksModel" -}}
{{- if or .Values.gpu.memory .Values.gpu.checkArchitecture -}}true{{- end -}}
{{- end -}}

{{/* What the check needs beside the variables of the fetch, as JSON: it reads headers, and weighs them as the server will be started. */}}
{{- define "llamacpp-app.checkEnv" -}}
{{- $env := list -}}
{{- $gpu := .Values.gpu -}}
{{- if $gpu.memory -}}
{{- $cards := list -}}
{{- range until (int $gpu.number) -}}{{- $cards = append $cards $gpu.memory -}}{{- end -}}
{{- $words := include "llamacpp-app.serverArgs" . | fromYamlArray -}}
{{- $env = append $env (dict "name" "MODELFETCH_FITS" "value" (join "\n" $cards)) -}}
{{- $env = append $env (dict "name" "MODELFETCH_SERVER_ARGS" "value" (join "\n" $words)) -}}
{{- end -}}
{{- if $gpu.checkArchitecture -}}
{{- $known := .Files.Get "files/llama-server-options.json" | fromJson -}}
{{- $env = append $env (dict "name" "MODELFETCH_ARCHITECTURES" "value" (join "," $known.architectures)) -}}
{{- end -}}
{{- toJson $env -}}
{{- end -}}

{{/* All variables of the fetch, as JSON. Takes {ctx, isGuard}. */}}
{{- define "llamacpp-app.fetchEnv" -}}
{{- $env := include "llamacpp-app.modelEnv" .ctx | fromJsonArray -}}
{{- $fetch := .ctx.Values.fetch -}}
{{- $env = append $env (dict "name" "MODELFETCH_PROGRESS" "value" $fetch.progress) -}}
{{- if .isGuard -}}
{{- /* A restarted server must not wait for the Hub, nor change its model because a branch moved. */ -}}
{{- $env = append $env (dict "name" "MODELFETCH_PREFER_OFFLINE" "value" "true") -}}
{{- end -}}
{{- with $fetch.connections -}}
{{- $env = append $env (dict "name" "MODELFETCH_CONNECTIONS" "value" (toString (int .))) -}}
{{- end -}}
{{- if not $fetch.delta -}}
{{- $env = append $env (dict "name" "MODELFETCH_NO_DELTA" "value" "true") -}}
{{- end -}}
{{- with $fetch.endpoints -}}
{{- $env = append $env (dict "name" "MODELFETCH_ENDPOINT" "value" (join "\n" .)) -}}
{{- end -}}
{{- with $fetch.deadline -}}
{{- $env = append $env (dict "name" "MODELFETCH_DEADLINE" "value" .) -}}
{{- end -}}
{{- if .ctx.Values.model.hfTokenSecret.name -}}
{{- $env = append $env (dict "name" "HF_TOKEN" "valueFrom" (dict "secretKeyRef" .ctx.Values.model.hfTokenSecret)) -}}
{{- end -}}
{{- if $fetch.registrySecret -}}
{{- $env = append $env (dict "name" "REGISTRY_AUTH_FILE" "value" (printf "%s/.dockerconfigjson" (include "llamacpp-app.registryAuthPath" .ctx))) -}}
{{- end -}}
{{- with .ctx.Values.model.hfOidc.resource -}}
{{- $env = append $env (dict "name" "HF_OIDC_RESOURCE" "value" .) -}}
{{- $env = append $env (dict "name" "MODELFETCH_ID_TOKEN_FILE" "value" (printf "%s/token" (include "llamacpp-app.idTokenPath" $.ctx))) -}}
{{- end -}}
{{- if $fetch.caBundle.configMap -}}
{{- $env = append $env (dict "name" "SSL_CERT_FILE" "value" (printf "%s/%s" (include "llamacpp-app.caBundlePath" .ctx) $fetch.caBundle.key)) -}}
{{- end -}}
{{- toJson $env -}}
{{- end -}}

{{/* Name of a CA bundle's volume and the folder it is mounted at. */}}
{{- define "llamacpp-app.caBundlePath" -}}/etc/modelfetch/ca{{- end -}}

{{/* The folder of the pod's identity token. */}}
{{- define "llamacpp-app.idTokenPath" -}}/var/run/secrets/modelfetch{{- end -}}

{{/*
The container that fetches and verifies the model: the Job's, and the server pod's guard. Takes {ctx, isGuard, isCheck}: with
`isCheck` it is the one before it, which reads the model's header and fetches nothing.
*/}}
{{- define "llamacpp-app.fetchContainer" -}}
{{- $values := .ctx.Values -}}
{{- $env := include "llamacpp-app.fetchEnv" . | fromJsonArray -}}
{{- if .isCheck -}}
{{- $env = concat $env (include "llamacpp-app.checkEnv" .ctx | fromJsonArray) -}}
{{- end -}}
name: {{ ternary "check" "fetch" (default false .isCheck) }}
image: {{ include "llamacpp-app.fetchImage" .ctx | quote }}
imagePullPolicy: {{ include "llamacpp-app.fetchPullPolicy" .ctx }}
args: [{{ ternary "inspect" "fetch" (default false .isCheck) }}]
env:
  {{- include "llamacpp-app.named" (dict "entries" $env "extra" $values.fetch.extraEnv) | nindent 2 }}
{{- with include "llamacpp-app.resources" $values.fetch.resources }}
resources:
  {{- . | nindent 2 }}
{{- end }}
{{- with include "llamacpp-app.containerSecurity" (dict "ctx" .ctx "over" $values.fetch.securityContext) }}
securityContext:
  {{- . | nindent 2 }}
{{- end }}
terminationMessagePolicy: FallbackToLogsOnError
volumeMounts:
  - {{ include "llamacpp-app.modelsMount" .ctx | fromJson | toYaml | nindent 4 | trim }}
  {{- if $values.models }}
  - name: manifest
    mountPath: /etc/modelfetch/models
    readOnly: true
  {{- end }}
  {{- if $values.fetch.registrySecret }}
  - name: registry-login
    mountPath: {{ include "llamacpp-app.registryAuthPath" .ctx }}
    readOnly: true
  {{- end }}
  {{- if $values.fetch.caBundle.configMap }}
  - name: ca-bundle
    mountPath: {{ include "llamacpp-app.caBundlePath" .ctx }}
    readOnly: true
  {{- end }}
  {{- if $values.model.hfOidc.resource }}
  - name: id-token
    mountPath: {{ include "llamacpp-app.idTokenPath" .ctx }}
    readOnly: true
  {{- end }}
{{- end -}}

{{/* The mount of the models as JSON. */}}
{{- define "llamacpp-app.modelsMount" -}}
{{- $mount := dict "name" "models" "mountPath" .Values.model.path -}}
{{- with .Values.persistence.subPath }}{{ $_ := set $mount "subPath" . }}{{ end -}}
{{- toJson $mount -}}
{{- end -}}

{{/* The claim stays writable in the pod's volume list, because the guard of the same pod writes. */}}
{{- define "llamacpp-app.fetchVolumes" -}}
- name: models
  {{- if .Values.persistence.volume }}
  {{- toYaml .Values.persistence.volume | nindent 2 }}
  {{- else }}
  persistentVolumeClaim:
    claimName: {{ include "llamacpp-app.claimName" . | quote }}
  {{- end }}
{{- if .Values.models }}
- name: manifest
  downwardAPI:
    items:
      - path: models.toml
        fieldRef:
          fieldPath: metadata.annotations['modelfetch/models.toml']
{{- end }}
{{- with .Values.fetch.registrySecret }}
- name: registry-login
  secret:
    secretName: {{ . | quote }}
{{- end }}
{{- with .Values.fetch.caBundle.configMap }}
- name: ca-bundle
  configMap:
    name: {{ . | quote }}
{{- end }}
{{- with .Values.model.hfOidc }}
{{- if .resource }}
# The kubelet renews it while the pod runs.
- name: id-token
  projected:
    sources:
      - serviceAccountToken:
          audience: {{ .audience | quote }}
          expirationSeconds: 3600
          path: token
{{- end }}
{{- end }}
{{- end -}}

{{/* "true" when the server's pod runs the fetch before the server. */}}
{{- define "llamacpp-app.fetchesInServerPod" -}}
{{- if or (eq .Values.fetch.mode "initContainer") (and (eq .Values.fetch.mode "job") .Values.fetch.guard) -}}true{{- end -}}
{{- end -}}
