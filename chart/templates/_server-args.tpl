{{/* llama-server's arguments, and the check of `server.extraArgs`. */}}

{{/* YAML numbers as text: 1000000, never 1e+06. */}}
{{- define "llamacpp-app.argText" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}{{ int64 . }}{{- else -}}{{ toString . }}{{- end -}}
{{- end -}}

{{/* Why llama-server would not take this word as an option here; empty when it would. Takes {ctx, word, known, refused}. */}}
{{- define "llamacpp-app.optionProblem" -}}
{{- $word := .word -}}
{{- if hasKey .refused.managed $word -}}
`{{ $word }}` is not for extraArgs: {{ get .refused.managed $word }}
{{- else if and (hasKey .refused.tools $word) (not .ctx.Values.server.allowTools) -}}
`{{ $word }}` needs server.allowTools=true: {{ get .refused.tools $word }}
{{- else if not .ctx.Values.server.checkArgs -}}
{{- else if hasKey .known.removed $word -}}
`{{ $word }}` was removed from llama-server: {{ get .known.removed $word }}
{{- else if hasKey .refused.gone $word -}}
`{{ $word }}` was removed from llama-server: {{ get .refused.gone $word }}
{{- else if hasKey .known.options $word -}}
{{- else if contains " " $word -}}
`{{ $word }}` has a space: write one word per item
{{- else if contains "=" $word -}}
`{{ $word }}`: llama-server knows no `option=value`; write the value as the next item
{{- else if not (hasPrefix "-" $word) -}}
`{{ $word }}` stands where an option is expected
{{- else -}}
`{{ $word }}` is no option of llama-server {{ .known.release }}; if your image knows it, set server.checkArgs=false
{{- end -}}
{{- end -}}

{{/*
`server.extraArgs` as JSON {args, problems}. llama-server's parser takes as many words after an
option as it has values, whatever they look like, so a bare `-fa`, a switch in older releases, gets its `on`.
*/}}
{{- define "llamacpp-app.extraArgs" -}}
{{- $ctx := . -}}
{{- $known := .Files.Get "files/llama-server-options.json" | fromJson -}}
{{- $refused := .Files.Get "files/refused-options.yaml" | fromYaml -}}
{{- $words := list -}}
{{- range .Values.server.extraArgs -}}
{{- $words = append $words (include "llamacpp-app.argText" .) -}}
{{- end -}}
{{- $args := list -}}
{{- $problems := list -}}
{{- $option := "" -}}
{{- $expected := 0 -}}
{{- $doubtful := false -}}
{{- range $i, $word := $words -}}
{{- $name := ternary (replace "_" "-" $word) $word (hasPrefix "--" $word) -}}
{{- $next := index (append $words "") (add1 $i | int) -}}
{{- if gt $expected 0 -}}
{{- if or (hasKey $known.options $name) (hasKey $known.removed $name) (hasKey $refused.gone $name) -}}
{{- $problems = append $problems (printf "`%s` needs a value before `%s`" $option $word) -}}
{{- end -}}
{{- $args = append $args $word -}}
{{- $expected = sub $expected 1 -}}
{{- else if and $doubtful (not (hasPrefix "-" $name)) -}}
{{- $args = append $args $word -}}
{{- else -}}
{{- $problem := include "llamacpp-app.optionProblem" (dict "ctx" $ctx "word" $name "known" $known "refused" $refused) -}}
{{- if $problem -}}
{{- $problems = append $problems $problem -}}
{{- end -}}
{{- $args = append $args $word -}}
{{- $option = $word -}}
{{- /* The words after an option that the list hasn't got may be its values. */ -}}
{{- $doubtful = not (hasKey $known.options $name) -}}
{{- $expected = get $known.options $name | default 0 | int -}}
{{- if and (has $name (list "-fa" "--flash-attn")) (or (eq $next "") (and (hasPrefix "-" $next) (ne $next "-1"))) -}}
{{- $args = append $args "on" -}}
{{- $expected = 0 -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if gt $expected 0 -}}
{{- $problems = append $problems (printf "`%s` needs a value" $option) -}}
{{- end -}}
{{- dict "args" $args "problems" $problems | toJson -}}
{{- end -}}

{{/* Problems of `server.extraEnv`, as JSON: the options' check for the variables that stand for them. */}}
{{- define "llamacpp-app.environmentProblems" -}}
{{- $known := .Files.Get "files/llama-server-options.json" | fromJson -}}
{{- $refused := .Files.Get "files/refused-options.yaml" | fromYaml -}}
{{- $args := (include "llamacpp-app.extraArgs" . | fromJson).args -}}
{{- $problems := list -}}
{{- range $entry := .Values.server.extraEnv -}}
{{- $name := $entry.name -}}
{{- if hasKey $refused.variables $name -}}
{{- $problems = append $problems (printf "`%s` is not for extraEnv: %s" $name (get $refused.variables $name)) -}}
{{- else if hasKey $known.variables $name -}}
{{- $problem := "" -}}
{{- range $option := get $known.variables $name -}}
{{- if hasKey $refused.managed $option -}}
{{- $problem = printf "`%s` is not for extraEnv: %s" $name (get $refused.managed $option) -}}
{{- else if and (hasKey $refused.tools $option) (not $.Values.server.allowTools) -}}
{{- $problem = printf "`%s` needs server.allowTools=true: %s" $name (get $refused.tools $option) -}}
{{- else if has $option $args -}}
{{- $problem = printf "`%s` is overruled by `%s` in server.extraArgs: keep one" $name $option -}}
{{- end -}}
{{- end -}}
{{- if $problem }}{{ $problems = append $problems $problem }}{{ end -}}
{{- else if and (hasPrefix "LLAMA_ARG_" $name) $.Values.server.checkArgs -}}
{{- $problems = append $problems (printf "`%s` is no variable of llama-server %s; if your image knows it, set server.checkArgs=false" $name $known.release) -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}

{{/* "true" when the server reranks: by its value, by an option, or by the pooling that the option stands for. */}}
{{- define "llamacpp-app.reranks" -}}
{{- $args := list -}}
{{- range .Values.server.extraArgs }}{{ $args = append $args (toString . | replace "_" "-") }}{{ end -}}
{{- $pooling := "" -}}
{{- range .Values.server.extraEnv }}{{ if eq .name "LLAMA_ARG_POOLING" }}{{ $pooling = .value }}{{ end }}{{ end -}}
{{- range $i, $arg := $args -}}
{{- if eq $arg "--pooling" }}{{ $pooling = index (append $args "") (add1 $i | int) }}{{ end -}}
{{- end -}}
{{- $pooled := and .Values.server.embeddings (eq (toString $pooling) "rank") -}}
{{- if or .Values.server.reranking (has "--reranking" $args) (has "--rerank" $args) $pooled -}}true{{- end -}}
{{- end -}}

{{- define "llamacpp-app.apiKeyPath" -}}/etc/llama.cpp-keys{{- end -}}

{{/*
All arguments as a YAML list. `-m` is always there: without it the server starts as a router and is
healthy with no model. Host and port are explicit, because llama.cpp is about to change its default port.
*/}}
{{- define "llamacpp-app.serverArgs" -}}
{{- $args := list "-m" (include "llamacpp-app.modelFile" .) "--alias" .Values.model.alias -}}
{{- with .Values.server -}}
{{- $args = concat $args (list "--host" (include "llamacpp-app.listenHost" $) "--port" (toString (int .port))) -}}
{{- $args = concat $args (list "-c" (toString (int64 .kvCache.size)) "-np" (toString (int .slots))) -}}
{{- if kindIs "bool" .kvCache.unified -}}
{{- $args = append $args (ternary "--kv-unified" "--no-kv-unified" .kvCache.unified) -}}
{{- end -}}
{{- if .metrics }}{{ $args = append $args "--metrics" }}{{ end -}}
{{- if .embeddings }}{{ $args = append $args "--embeddings" }}{{ end -}}
{{- if .reranking }}{{ $args = append $args "--reranking" }}{{ end -}}
{{- if kindIs "bool" .slotsEndpoint -}}
{{- $args = append $args (ternary "--slots" "--no-slots" .slotsEndpoint) -}}
{{- end -}}
{{- if not .webui }}{{ $args = append $args "--no-webui" }}{{ end -}}
{{- if .apiKeySecret.name -}}
{{- $args = concat $args (list "--api-key-file" (printf "%s/%s" (include "llamacpp-app.apiKeyPath" $) .apiKeySecret.key)) -}}
{{- end -}}
{{- end -}}
{{- $extra := include "llamacpp-app.extraArgs" . | fromJson -}}
{{- concat $args $extra.args | toYaml -}}
{{- end -}}
