{{/*
Several models: what is fetched, as modelfetch's models.toml, and what is served, as the preset of llama.cpp's router.
Both travel in annotations of the pods, so that no ConfigMap has to be there before a hook.
*/}}

{{/* `.Values.models` as JSON, each with what it leaves out. */}}
{{- define "llamacpp-app.models" -}}
{{- $models := list -}}
{{- range .Values.models -}}
{{- $files := .files | default (ternary (list .file) list (not (empty .file))) -}}
{{- $file := .file | default (first $files | default "") -}}
{{- $dir := .dir | default .name -}}
{{- $served := list $.Values.model.path $dir $file | join "/" -}}
{{- $projector := "" -}}
{{- range $files }}{{ if regexMatch "(^|/)mmproj[^*?[]*\\.gguf$" . }}{{ $projector = list $.Values.model.path $dir . | join "/" }}{{ end }}{{ end -}}
{{- $models = append $models (merge (dict "files" $files "file" $file "dir" $dir "served" $served "projector" $projector) .) -}}
{{- end -}}
{{- toJson $models -}}
{{- end -}}

{{/* A list as TOML. */}}
{{- define "llamacpp-app.tomlList" -}}
{{- $quoted := list -}}
{{- range . }}{{ $quoted = append $quoted (quote .) }}{{ end -}}
[{{ join ", " $quoted }}]
{{- end -}}

{{- define "llamacpp-app.modelsToml" -}}
{{- range include "llamacpp-app.models" . | fromJsonArray }}
[[model]]
name = {{ .name | quote }}
repo = {{ .repo | quote }}
{{- with .revision }}
revision = {{ . | quote }}
{{- end }}
dir = {{ .dir | quote }}
{{- with .files }}
files = {{ include "llamacpp-app.tomlList" . }}
{{- end }}
{{- with .include }}
include = {{ include "llamacpp-app.tomlList" . }}
{{- end }}
{{- with .exclude }}
exclude = {{ include "llamacpp-app.tomlList" . }}
{{- end }}
{{- with .quant }}
quant = {{ . | quote }}
{{- end }}
{{- with .sha256 }}
[model.sha256]
{{- range $file, $digest := . }}
{{ $file | quote }} = {{ lower $digest | quote }}
{{- end }}
{{- end }}
{{ end -}}
{{- end -}}

{{/* Words of arguments as the lines of a preset's section. Takes {words, known}. */}}
{{- define "llamacpp-app.presetLines" -}}
{{- $known := .known -}}
{{- $lines := list -}}
{{- $option := "" -}}
{{- range .words -}}
{{- if $option -}}
{{- $lines = append $lines (printf "%s = %s" $option .) -}}
{{- $option = "" -}}
{{- else -}}
{{- $name := ternary (replace "_" "-" .) . (hasPrefix "--" .) -}}
{{- $key := $name | trimPrefix "-" | trimPrefix "-" -}}
{{- if gt (get $known.options $name | default 0 | int) 0 -}}
{{- $option = $key -}}
{{- else -}}
{{- $lines = append $lines (printf "%s = true" $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- join "\n" $lines -}}
{{- end -}}

{{/* The router's preset. What stands in a model's section goes before `[*]`, and an option of the command line before both. */}}
{{- define "llamacpp-app.modelsPreset" -}}
{{- $known := .Files.Get "files/llama-server-options.json" | fromJson -}}
version = 1

[*]
{{ include "llamacpp-app.presetLines" (dict "words" (concat (include "llamacpp-app.contextArgs" . | fromJsonArray) (include "llamacpp-app.extraArgs" . | fromJson).args) "known" $known) }}
{{- range include "llamacpp-app.models" . | fromJsonArray }}

[{{ .name }}]
model = {{ .served }}
{{- with .projector }}
mmproj = {{ . }}
{{- end }}
{{- if .loadOnStartup }}
load-on-startup = true
{{- end }}
{{- with include "llamacpp-app.presetLines" (dict "words" (include "llamacpp-app.modelArgs" (dict "ctx" $ "model" .) | fromJson).args "known" $known) }}
{{ . }}
{{- end }}
{{- end }}
{{- end -}}

{{/* "true" when the server is llama.cpp's router, started by the chart. */}}
{{- define "llamacpp-app.isRouter" -}}
{{- if and .Values.models .Values.server.router.enabled (include "llamacpp-app.writesArgs" .) -}}true{{- end -}}
{{- end -}}

{{- define "llamacpp-app.presetDir" -}}/etc/llama.cpp-models{{- end -}}

{{/* The router's arguments as a YAML list. */}}
{{- define "llamacpp-app.routerArgs" -}}
{{- $preset := list
    "--models-preset" (printf "%s/models.ini" (include "llamacpp-app.presetDir" .))
    "--models-max" (toString (int .Values.server.router.maxModels)) -}}
{{- concat $preset (include "llamacpp-app.listenArgs" . | fromJsonArray) (include "llamacpp-app.commonArgs" . | fromJsonArray) | toYaml -}}
{{- end -}}

{{/* Annotations of a pod that fetches, as JSON. */}}
{{- define "llamacpp-app.manifestAnnotation" -}}
{{- $notes := dict -}}
{{- if .Values.models }}{{ $_ := set $notes "modelfetch/models.toml" (regexReplaceAll "\n{2,}" (include "llamacpp-app.modelsToml" .) "\n" | trim) }}{{ end -}}
{{- toJson $notes -}}
{{- end -}}
