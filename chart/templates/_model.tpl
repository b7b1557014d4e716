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

{{- define "llamacpp-app.modelFile" -}}
{{- printf "%s/%s" (trimSuffix "/" .Values.model.path) (.Values.model.localFile | default (include "llamacpp-app.hubFile" .)) -}}
{{- end -}}

{{- define "llamacpp-app.digests" -}}
{{- with .Values.model.sha256 }}
{{ include "llamacpp-app.hubFile" $ }}={{ lower . }}
{{- end }}
{{- range $file, $digest := .Values.model.extraSha256 }}
{{ $file }}={{ lower $digest }}
{{- end }}
{{- end -}}

{{/* What is fetched. The pod's template changes with it, so that the server restarts for a new model. */}}
{{- define "llamacpp-app.modelEnv" -}}
- name: MODELFETCH_REPO
  value: {{ include "llamacpp-app.hubRepo" . | quote }}
- name: MODELFETCH_FILES
  value: {{ prepend .Values.model.extraFiles (include "llamacpp-app.hubFile" .) | join "\n" | quote }}
- name: MODELFETCH_REVISION
  value: {{ .Values.model.revision | quote }}
{{- with include "llamacpp-app.digests" . | trim }}
- name: MODELFETCH_SHA256
  value: {{ . | quote }}
{{- end }}
{{- end -}}

{{/* Name of a CA bundle's volume and the folder it is mounted at. */}}
{{- define "llamacpp-app.caBundlePath" -}}/etc/modelfetch/ca{{- end -}}

{{/* The container that fetches and verifies the model: the Job's, and the server pod's guard. */}}
{{- define "llamacpp-app.fetchContainer" -}}
name: fetch
image: {{ include "llamacpp-app.fetchImage" . | quote }}
imagePullPolicy: {{ include "llamacpp-app.fetchPullPolicy" . }}
args: [fetch]
env:
  {{- include "llamacpp-app.modelEnv" . | nindent 2 }}
  - name: MODELFETCH_DIR
    value: {{ .Values.model.path | quote }}
  - name: MODELFETCH_PROGRESS
    value: {{ .Values.fetch.progress | quote }}
  {{- if .isGuard }}
  # A restarted server must not wait for the Hub, nor change its model because a branch moved.
  - name: MODELFETCH_PREFER_OFFLINE
    value: "true"
  {{- end }}
  {{- with .Values.fetch.connections }}
  - name: MODELFETCH_CONNECTIONS
    value: {{ . | int | quote }}
  {{- end }}
  {{- with .Values.fetch.endpoints }}
  - name: MODELFETCH_ENDPOINT
    value: {{ join "\n" . | quote }}
  {{- end }}
  {{- with .Values.fetch.deadline }}
  - name: MODELFETCH_DEADLINE
    value: {{ . | quote }}
  {{- end }}
  {{- with .Values.model.hfTokenSecret }}
  {{- if .name }}
  - name: HF_TOKEN
    valueFrom:
      secretKeyRef:
        name: {{ .name }}
        key: {{ .key }}
  {{- end }}
  {{- end }}
  {{- with .Values.fetch.caBundle }}
  {{- if .configMap }}
  - name: SSL_CERT_FILE
    value: {{ printf "%s/%s" (include "llamacpp-app.caBundlePath" $) .key | quote }}
  {{- end }}
  {{- end }}
  {{- with .Values.fetch.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .Values.fetch.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.securityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
terminationMessagePolicy: FallbackToLogsOnError
volumeMounts:
  - name: models
    mountPath: {{ .Values.model.path }}
  {{- if .Values.fetch.caBundle.configMap }}
  - name: ca-bundle
    mountPath: {{ include "llamacpp-app.caBundlePath" . }}
    readOnly: true
  {{- end }}
{{- end -}}

{{/* The claim stays writable in the pod's volume list, because the guard of the same pod writes. */}}
{{- define "llamacpp-app.fetchVolumes" -}}
- name: models
  persistentVolumeClaim:
    claimName: {{ include "llamacpp-app.claimName" . }}
{{- with .Values.fetch.caBundle.configMap }}
- name: ca-bundle
  configMap:
    name: {{ . }}
{{- end }}
{{- end -}}

{{/* "true" when the server's pod runs the fetch before the server. */}}
{{- define "llamacpp-app.fetchesInServerPod" -}}
{{- if or (eq .Values.fetch.mode "initContainer") (and (eq .Values.fetch.mode "job") .Values.fetch.guard) -}}true{{- end -}}
{{- end -}}
