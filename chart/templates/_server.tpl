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
{{- else -}}
{{- with (include "llamacpp-app.gpu" . | fromJson).resource -}}
{{- $gpu := dict . (int $.Values.gpu.number) -}}
{{- $_ := set $resources "limits" (merge $gpu ($resources.limits | default dict)) -}}
{{- end -}}
{{- end -}}
{{- include "llamacpp-app.resources" $resources -}}
{{- end -}}

{{/* Takes {ctx, timing}. */}}
{{- define "llamacpp-app.healthProbe" -}}
httpGet:
  path: {{ .ctx.Values.server.healthPath | quote }}
  port: http
{{ toYaml .timing }}
{{- end -}}

{{- define "llamacpp-app.serverContainer" -}}
name: server
image: {{ include "llamacpp-app.serverImage" . | quote }}
imagePullPolicy: {{ include "llamacpp-app.serverPullPolicy" . }}
{{- with .Values.server.command }}
command:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with include "llamacpp-app.serverArgs" . | fromYamlArray }}
args:
  {{- toYaml . | nindent 2 }}
{{- end }}
env:
  {{- include "llamacpp-app.named" (dict "entries" (include "llamacpp-app.serverEnv" . | fromJsonArray) "extra" .Values.server.extraEnv) | nindent 2 }}
{{- with .Values.server.envFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
ports:
  - name: http
    containerPort: {{ .Values.server.port | int }}
    {{- with .Values.server.hostPort }}
    hostPort: {{ . | int }}
    {{- end }}
    protocol: TCP
startupProbe:
  {{- include "llamacpp-app.healthProbe" (dict "ctx" . "timing" .Values.startupProbe) | nindent 2 }}
readinessProbe:
  {{- include "llamacpp-app.healthProbe" (dict "ctx" . "timing" .Values.readinessProbe) | nindent 2 }}
livenessProbe:
  {{- include "llamacpp-app.healthProbe" (dict "ctx" . "timing" .Values.livenessProbe) | nindent 2 }}
{{- with .Values.server.lifecycle }}
lifecycle:
  {{- toYaml . | nindent 2 }}
{{- end }}
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

{{/* llama.cpp and the GPU's driver keep caches in the home directory, which the read-only root hasn't got. */}}
{{- define "llamacpp-app.serverEnv" -}}
{{- $env := list
    (dict "name" "HOME" "value" "/tmp")
    (dict "name" "LLAMA_CACHE" "value" "/tmp/llama.cpp") -}}
{{- range $name, $path := (include "llamacpp-app.gpu" . | fromJson).env -}}
{{- $env = append $env (dict "name" $name "value" $path) -}}
{{- end -}}
{{- toJson $env -}}
{{- end -}}

{{/* The server's mounts as YAML; one of the user's at `/tmp` stands in the place of the chart's. */}}
{{- define "llamacpp-app.serverMounts" -}}
{{- $mounts := list (include "llamacpp-app.modelsMount" . | fromJson | merge (dict "readOnly" true)) -}}
{{- $own := list -}}
{{- range .Values.server.extraVolumeMounts }}{{ $own = append $own (.mountPath | trimSuffix "/") }}{{ end -}}
{{- if not (has "/tmp" $own) -}}
{{- $mounts = append $mounts (dict "name" "tmp" "mountPath" "/tmp") -}}
{{- end -}}
{{- if include "llamacpp-app.isRouter" . -}}
{{- $mounts = append $mounts (dict "name" "preset" "mountPath" (include "llamacpp-app.presetDir" .) "readOnly" true) -}}
{{- end -}}
{{- if .Values.server.apiKeySecret.name -}}
{{- $mounts = append $mounts (dict "name" "api-keys" "mountPath" (include "llamacpp-app.apiKeyPath" .) "readOnly" true) -}}
{{- end -}}
{{- concat $mounts .Values.server.extraVolumeMounts | toYaml -}}
{{- end -}}

{{/* The server pod's volumes as YAML; a user's `tmp` stands in the place of the chart's. */}}
{{- define "llamacpp-app.serverVolumes" -}}
{{- $volumes := append (include "llamacpp-app.fetchVolumes" . | fromYamlArray) (dict "name" "tmp" "emptyDir" dict) -}}
{{- if include "llamacpp-app.isRouter" . -}}
{{- $field := dict "fieldPath" "metadata.annotations['modelfetch/models.ini']" -}}
{{- $volumes = append $volumes (dict "name" "preset" "downwardAPI" (dict "items" (list (dict "path" "models.ini" "fieldRef" $field)))) -}}
{{- end -}}
{{- with .Values.server.apiKeySecret.name -}}
{{- $volumes = append $volumes (dict "name" "api-keys" "secret" (dict "secretName" .)) -}}
{{- end -}}
{{- include "llamacpp-app.named" (dict "entries" $volumes "extra" .Values.server.extraVolumes) -}}
{{- end -}}

{{/* Annotations of the server's pod as JSON, the user's over the chart's. */}}
{{- define "llamacpp-app.serverPodAnnotations" -}}
{{- $scraping := dict -}}
{{- /* A router wants the model named, which plain scraping can't. */ -}}
{{- if and .Values.server.metrics .Values.metrics.annotations (not .Values.server.apiKeySecret.name) (or .Model (not .Values.models)) -}}
{{- $scraping = dict
    "prometheus.io/scrape" "true"
    "prometheus.io/port" (.Values.server.port | int | toString)
    "prometheus.io/path" "/metrics" -}}
{{- end -}}
{{- /* A changed model restarts the server, with the guard or without. */ -}}
{{- $model := dict "checksum/model" (include "llamacpp-app.modelEnv" . | sha256sum) -}}
{{- $preset := dict -}}
{{- if include "llamacpp-app.isRouter" . -}}
{{- $preset = dict "modelfetch/models.ini" (regexReplaceAll "\n{2,}" (include "llamacpp-app.modelsPreset" .) "\n") -}}
{{- end -}}
{{- include "llamacpp-app.overlay" (list $scraping .Values.podAnnotations $model $preset (include "llamacpp-app.manifestAnnotation" . | fromJson)) -}}
{{- end -}}

{{/* Security context of the server's pod alone as JSON: the groups that own the GPU's devices, and the user's over it. */}}
{{- define "llamacpp-app.serverPodSecurity" -}}
{{- $groups := dict -}}
{{- with (include "llamacpp-app.gpu" . | fromJson).groups -}}
{{- $groups = dict "supplementalGroups" . -}}
{{- end -}}
{{- include "llamacpp-app.overlay" (list $groups .Values.server.podSecurityContext) -}}
{{- end -}}

{{/* Annotations of the Deployment as JSON. Argo CD and Flux never show NOTES.txt, so the warnings stand here too. */}}
{{- define "llamacpp-app.serverNotes" -}}
{{- $notes := deepCopy .Values.deploymentAnnotations -}}
{{- with include "llamacpp-app.warnings" . | fromJsonArray -}}
{{- $_ := set $notes "modelfetch/warnings" (join "\n" .) -}}
{{- end -}}
{{- toJson $notes -}}
{{- end -}}
