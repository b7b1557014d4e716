{{/* The server's container and its timing. */}}

{{/* Time for the fetch in the pod, where there is one, and for the startup probe; a rollout in progress is no failure. */}}
{{- define "llamacpp-app.progressDeadlineSeconds" -}}
{{- if .Values.progressDeadlineSeconds -}}
{{- .Values.progressDeadlineSeconds | int -}}
{{- else -}}
{{- $startup := mul (.Values.startupProbe.periodSeconds | default 10) (.Values.startupProbe.failureThreshold | default 3) -}}
{{- $fetch := ternary .Values.fetch.job.activeDeadlineSeconds 0 (eq "true" (include "llamacpp-app.fetchesInServerPod" .)) -}}
{{- add $startup $fetch 600 -}}
{{- end -}}
{{- end -}}

{{/* Resources with the GPU. Its request equals its limit by itself. */}}
{{- define "llamacpp-app.serverResources" -}}
{{- $resources := deepCopy .Values.resources -}}
{{- if .Values.gpu.dra.enabled -}}
{{- $_ := set $resources "claims" (list (dict "name" "gpu")) -}}
{{- else if .Values.gpu.enabled -}}
{{- $gpu := dict .Values.gpu.nvidiaResource (int .Values.gpu.number) -}}
{{- $_ := set $resources "limits" (merge $gpu ($resources.limits | default dict)) -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end -}}

{{- define "llamacpp-app.healthProbe" -}}
httpGet:
  path: /health
  port: http
{{ toYaml . }}
{{- end -}}

{{- define "llamacpp-app.serverContainer" -}}
name: server
image: {{ include "llamacpp-app.serverImage" . | quote }}
imagePullPolicy: {{ include "llamacpp-app.serverPullPolicy" . }}
args:
  {{- include "llamacpp-app.serverArgs" . | nindent 2 }}
env:
  # llama.cpp and the CUDA driver keep caches in the home directory, which the read-only root hasn't got.
  - name: HOME
    value: /tmp
  - name: LLAMA_CACHE
    value: /tmp/llama.cpp
  - name: CUDA_CACHE_PATH
    value: /tmp/cuda
  {{- with .Values.server.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
ports:
  - name: http
    containerPort: {{ .Values.server.port | int }}
    protocol: TCP
startupProbe:
  {{- include "llamacpp-app.healthProbe" .Values.startupProbe | nindent 2 }}
readinessProbe:
  {{- include "llamacpp-app.healthProbe" .Values.readinessProbe | nindent 2 }}
livenessProbe:
  {{- include "llamacpp-app.healthProbe" .Values.livenessProbe | nindent 2 }}
resources:
  {{- include "llamacpp-app.serverResources" . | nindent 2 }}
{{- with .Values.securityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumeMounts:
  - name: models
    mountPath: {{ .Values.model.path }}
    readOnly: true
  - name: tmp
    mountPath: /tmp
  {{- if .Values.server.apiKeySecret.name }}
  - name: api-keys
    mountPath: {{ include "llamacpp-app.apiKeyPath" . }}
    readOnly: true
  {{- end }}
  {{- with .Values.server.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}
