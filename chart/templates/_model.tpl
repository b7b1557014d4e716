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
{{- if .Values.model.localFile -}}
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
{{- $env := list
    (dict "name" "MODELFETCH_REPO" "value" (include "llamacpp-app.hubRepo" .))
    (dict "name" "MODELFETCH_FILES" "value" (prepend .Values.model.extraFiles (include "llamacpp-app.hubFile" .) | join "\n"))
    (dict "name" "MODELFETCH_REVISION" "value" .Values.model.revision)
    (dict "name" "MODELFETCH_DIR" "value" (include "llamacpp-app.modelDir" .)) -}}
{{- with include "llamacpp-app.digests" . | trim -}}
{{- $env = append $env (dict "name" "MODELFETCH_SHA256" "value" .) -}}
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
{{- with $fetch.endpoints -}}
{{- $env = append $env (dict "name" "MODELFETCH_ENDPOINT" "value" (join "\n" .)) -}}
{{- end -}}
{{- with $fetch.deadline -}}
{{- $env = append $env (dict "name" "MODELFETCH_DEADLINE" "value" .) -}}
{{- end -}}
{{- if .ctx.Values.model.hfTokenSecret.name -}}
{{- $env = append $env (dict "name" "HF_TOKEN" "valueFrom" (dict "secretKeyRef" .ctx.Values.model.hfTokenSecret)) -}}
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

{{/* The container that fetches and verifies the model: the Job's, and the server pod's guard. Takes {ctx, isGuard}. */}}
{{- define "llamacpp-app.fetchContainer" -}}
{{- $values := .ctx.Values -}}
name: fetch
image: {{ include "llamacpp-app.fetchImage" .ctx | quote }}
imagePullPolicy: {{ include "llamacpp-app.fetchPullPolicy" .ctx }}
args: [fetch]
env:
  {{- include "llamacpp-app.named" (dict "entries" (include "llamacpp-app.fetchEnv" . | fromJsonArray) "extra" $values.fetch.extraEnv) | nindent 2 }}
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
  - name: models
    mountPath: {{ $values.model.path | quote }}
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

{{/* The claim stays writable in the pod's volume list, because the guard of the same pod writes. */}}
{{- define "llamacpp-app.fetchVolumes" -}}
- name: models
  persistentVolumeClaim:
    claimName: {{ include "llamacpp-app.claimName" . | quote }}
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
