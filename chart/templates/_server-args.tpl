{{/* llama-server's arguments, and the check of `server.extraArgs`. */}}

{{/* YAML numbers as text: 1000000, never 1e+06. */}}
{{- define "llamacpp-app.argText" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}{{ int64 . }}{{- else -}}{{ toString . }}{{- end -}}
{{- end -}}

{{/* Why llama-server would not take this word as an option here; empty when it would. Takes {ctx, word, known, refused, allowed, place}. */}}
{{- define "llamacpp-app.optionProblem" -}}
{{- $word := .word -}}
{{- if and (hasKey .refused.managed $word) (not (has $word .allowed)) -}}
`{{ $word }}` is not for {{ .place }}: {{ get .refused.managed $word }}
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
Arguments of a user as JSON {args, problems}. llama-server's parser takes as many words after an
option as it has values, whatever they look like, so a bare `-fa`, a switch in older releases, gets its `on`.
Takes {ctx, words, allowed, place}; `allowed` are options that the chart writes elsewhere, and not here.
*/}}
{{- define "llamacpp-app.checkedArgs" -}}
{{- $ctx := .ctx -}}
{{- $allowed := .allowed -}}
{{- $place := .place -}}
{{- $known := $ctx.Files.Get "files/llama-server-options.json" | fromJson -}}
{{- $refused := $ctx.Files.Get "files/refused-options.yaml" | fromYaml -}}
{{- $words := list -}}
{{- range .words -}}
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
{{- $problem := include "llamacpp-app.optionProblem" (dict "ctx" $ctx "word" $name "known" $known "refused" $refused "allowed" $allowed "place" $place) -}}
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

{{/* `server.extraArgs` as JSON {args, problems}. `--fit` sizes the layers on the GPU, too, so the default's are left out. */}}
{{- define "llamacpp-app.extraArgs" -}}
{{- $words := .Values.server.extraArgs -}}
{{- if and .Values.server.fit (deepEqual $words (list "-fa" "-ngl" "99")) -}}
{{- $words = list "-fa" -}}
{{- end -}}
{{- include "llamacpp-app.checkedArgs" (dict "ctx" . "words" $words "allowed" list "place" "extraArgs") -}}
{{- end -}}

{{/* The arguments of one of several models as JSON {args, problems}. Takes {ctx, model}. */}}
{{- define "llamacpp-app.modelArgs" -}}
{{- $allowed := list "-c" "--ctx-size" "-np" "--parallel" "-kvu" "--kv-unified" "-no-kvu" "--no-kv-unified" "--embedding" "--embeddings" -}}
{{- include "llamacpp-app.checkedArgs" (dict "ctx" .ctx "words" (.model.args | default list) "allowed" $allowed "place" "a model's args") -}}
{{- end -}}

{{/*
Arguments without the options that others give too, by whichever of its names, as a JSON list: a server takes the last
of two, and says with each start that it does. Takes {ctx, words, over}.
*/}}
{{- define "llamacpp-app.argsWithout" -}}
{{- $known := .ctx.Files.Get "files/llama-server-options.json" | fromJson -}}
{{- $over := list -}}
{{- range .over }}{{ $over = append $over (ternary (replace "_" "-" .) . (hasPrefix "--" .)) }}{{ end -}}
{{- range $names := $known.variables -}}
{{- range $names }}{{ if has . $over }}{{ $over = concat $over $names }}{{ end }}{{ end -}}
{{- end -}}
{{- $left := list -}}
{{- $values := 0 -}}
{{- $drops := false -}}
{{- range .words -}}
{{- if gt $values 0 -}}
{{- $values = sub $values 1 -}}
{{- else -}}
{{- $name := ternary (replace "_" "-" .) . (hasPrefix "--" .) -}}
{{- $drops = has $name $over -}}
{{- $values = get $known.options $name | default 0 | int -}}
{{- end -}}
{{- if not $drops }}{{ $left = append $left . }}{{ end -}}
{{- end -}}
{{- toJson $left -}}
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
{{- range .Values.models }}{{ range .args }}{{ $args = append $args (toString . | replace "_" "-") }}{{ end }}{{ end -}}
{{- if or .Values.server.reranking (has "--reranking" $args) (has "--rerank" $args) $pooled -}}true{{- end -}}
{{- end -}}

{{- define "llamacpp-app.apiKeyPath" -}}/etc/llama.cpp-keys{{- end -}}

{{/* "true" when the chart writes the server's arguments, so that it knows what runs. */}}
{{- define "llamacpp-app.writesArgs" -}}
{{- if and (eq (toString .Values.server.args) "auto") (not .Values.server.command) -}}true{{- end -}}
{{- end -}}

{{- define "llamacpp-app.listenArgs" -}}
{{- list "--host" (include "llamacpp-app.listenHost" .) "--port" (toString (int .Values.server.port)) | toJson -}}
{{- end -}}

{{/* The options that the chart writes for every server as a JSON list, without address, model, context and the user's. */}}
{{- define "llamacpp-app.commonArgs" -}}
{{- $args := list -}}
{{- with .Values.server -}}
{{- if .metrics }}{{ $args = append $args "--metrics" }}{{ end -}}
{{- if kindIs "bool" .slotsEndpoint -}}
{{- $args = append $args (ternary "--slots" "--no-slots" .slotsEndpoint) -}}
{{- end -}}
{{- if not .webui }}{{ $args = append $args "--no-webui" }}{{ end -}}
{{- if .sleepIdleSeconds }}{{ $args = concat $args (list "--sleep-idle-seconds" (toString (int .sleepIdleSeconds))) }}{{ end -}}
{{- if .apiKeySecret.name -}}
{{- $args = concat $args (list "--api-key-file" (printf "%s/%s" (include "llamacpp-app.apiKeyPath" $) .apiKeySecret.key)) -}}
{{- end -}}
{{- end -}}
{{- toJson $args -}}
{{- end -}}

{{/* Context and slots as a JSON list. `--fit` sizes what is not given, so it is given nothing. */}}
{{- define "llamacpp-app.contextArgs" -}}
{{- $args := list -}}
{{- with .Values.server -}}
{{- if .fit -}}
{{- $args = list "--fit" "on" -}}
{{- else -}}
{{- $args = list "-c" (toString (int64 .kvCache.size)) -}}
{{- end -}}
{{- $args = concat $args (list "-np" (toString (int .slots))) -}}
{{- if kindIs "bool" .kvCache.unified -}}
{{- $args = append $args (ternary "--kv-unified" "--no-kv-unified" .kvCache.unified) -}}
{{- end -}}
{{- /* Of several models, each says for itself what it is. */ -}}
{{- if and .embeddings (not $.Values.models) }}{{ $args = append $args "--embeddings" }}{{ end -}}
{{- if and .reranking (not $.Values.models) }}{{ $args = append $args "--reranking" }}{{ end -}}
{{- end -}}
{{- toJson $args -}}
{{- end -}}

{{/*
All arguments as a YAML list. `-m` is always there: without it the server starts as a router and is
healthy with no model. Host and port are explicit, because llama.cpp is about to change its default port.
*/}}
{{- define "llamacpp-app.serverArgs" -}}
{{- if kindIs "slice" .Values.server.args -}}
{{- toYaml .Values.server.args -}}
{{- else if .Values.server.command -}}
[]
{{- else if include "llamacpp-app.isRouter" . -}}
{{- include "llamacpp-app.routerArgs" . -}}
{{- else -}}
{{- $args := list "-m" (include "llamacpp-app.modelFile" .) "--alias" .Values.model.alias -}}
{{- $context := include "llamacpp-app.contextArgs" . | fromJsonArray -}}
{{- $extra := (include "llamacpp-app.extraArgs" . | fromJson).args -}}
{{- $own := list -}}
{{- with .Model -}}
{{- $own = (include "llamacpp-app.modelArgs" (dict "ctx" $ "model" .) | fromJson).args -}}
{{- $context = include "llamacpp-app.argsWithout" (dict "ctx" $ "words" $context "over" $own) | fromJsonArray -}}
{{- $extra = include "llamacpp-app.argsWithout" (dict "ctx" $ "words" $extra "over" $own) | fromJsonArray -}}
{{- with .projector }}{{ $own = concat (list "--mmproj" .) $own }}{{ end -}}
{{- end -}}
{{- $args = concat $args (include "llamacpp-app.listenArgs" . | fromJsonArray) $context (include "llamacpp-app.commonArgs" . | fromJsonArray) -}}
{{- concat $args $extra $own | toYaml -}}
{{- end -}}
{{- end -}}
