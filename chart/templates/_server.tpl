{{/* The server's container and its timing. */}}

{{/* Time for the download, where it is in the pod, and for the startup probe; a rollout in progress is no failure. */}}
{{- define "llamacpp-app.progressDeadlineSeconds" -}}
{{- if .Values.progressDeadlineSeconds -}}
{{- .Values.progressDeadlineSeconds | int -}}
{{- else -}}
{{- $startup := mul (.Values.startupProbe.periodSeconds | default 10) (.Values.startupProbe.failureThreshold | default 3) -}}
{{- $fetch := ternary .Values.fetch.job.activeDeadlineSeconds 0 (eq "true" (include "llamacpp-app.serverPodDownloads" .)) -}}
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
{{- include "llamacpp-app.resources" $resources -}}
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
  {{- include "llamacpp-app.named" (dict "entries" (include "llamacpp-app.serverEnv" . | fromJsonArray) "extra" .Values.server.extraEnv) | nindent 2 }}
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
{{- with include "llamacpp-app.serverResources" . }}
resources:
  {{- . | nindent 2 }}
{{- end }}
{{- with include "llamacpp-app.containerSecurity" (dict "ctx" . "over" .Values.server.securityContext) }}
securityContext:
  {{- . | nindent 2 }}
{{- end }}
volumeMounts:
  {{- include "llamacpp-app.serverMounts" . | nindent 2 }}
{{- end -}}

{{/* llama.cpp and the CUDA driver keep caches in the home directory, which the read-only root hasn't got. */}}
{{- define "llamacpp-app.serverEnv" -}}
{{- list
    (dict "name" "HOME" "value" "/tmp")
    (dict "name" "LLAMA_CACHE" "value" "/tmp/llama.cpp")
    (dict "name" "CUDA_CACHE_PATH" "value" "/tmp/cuda")
  | toJson -}}
{{- end -}}

{{/* The server's mounts as YAML; one of the user's at `/tmp` stands in the place of the chart's. */}}
{{- define "llamacpp-app.serverMounts" -}}
{{- $mounts := list (dict "name" "models" "mountPath" .Values.model.path "readOnly" true) -}}
{{- $own := list -}}
{{- range .Values.server.extraVolumeMounts }}{{ $own = append $own (.mountPath | trimSuffix "/") }}{{ end -}}
{{- if not (has "/tmp" $own) -}}
{{- $mounts = append $mounts (dict "name" "tmp" "mountPath" "/tmp") -}}
{{- end -}}
{{- if .Values.server.apiKeySecret.name -}}
{{- $mounts = append $mounts (dict "name" "api-keys" "mountPath" (include "llamacpp-app.apiKeyPath" .) "readOnly" true) -}}
{{- end -}}
{{- concat $mounts .Values.server.extraVolumeMounts | toYaml -}}
{{- end -}}

{{/* The server pod's volumes as YAML; a user's `tmp` stands in the place of the chart's. */}}
{{- define "llamacpp-app.serverVolumes" -}}
{{- $volumes := append (include "llamacpp-app.fetchVolumes" . | fromYamlArray) (dict "name" "tmp" "emptyDir" dict) -}}
{{- with .Values.server.apiKeySecret.name -}}
{{- $volumes = append $volumes (dict "name" "api-keys" "secret" (dict "secretName" .)) -}}
{{- end -}}
{{- include "llamacpp-app.named" (dict "entries" $volumes "extra" .Values.server.extraVolumes) -}}
{{- end -}}

{{/* Annotations of the server's pod as JSON, the user's over the chart's. */}}
{{- define "llamacpp-app.serverPodAnnotations" -}}
{{- $scraping := dict -}}
{{- if and .Values.server.metrics .Values.metrics.annotations (not .Values.server.apiKeySecret.name) -}}
{{- $scraping = dict
    "prometheus.io/scrape" "true"
    "prometheus.io/port" (.Values.server.port | int | toString)
    "prometheus.io/path" "/metrics" -}}
{{- end -}}
{{- /* A changed model restarts the server, with the guard or without. */ -}}
{{- $model := dict "checksum/model" (include "llamacpp-app.modelEnv" . | sha256sum) -}}
{{- include "llamacpp-app.overlay" (list $scraping .Values.podAnnotations $model) -}}
{{- end -}}

{{/* Annotations of the Deployment as JSON. Argo CD and Flux never show NOTES.txt, so the warnings stand here too. */}}
{{- define "llamacpp-app.serverNotes" -}}
{{- $notes := dict -}}
{{- with include "llamacpp-app.warnings" . | fromJsonArray -}}
{{- $_ := set $notes "modelfetch/warnings" (join "\n" .) -}}
{{- end -}}
{{- toJson $notes -}}
{{- end -}}

{{/* What /health of a ready llama-server says. */}}
{{- define "llamacpp-app.healthyBody" -}}
{"status":"ok"}
{{- end -}}
