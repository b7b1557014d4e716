{{/*
What is served, and by how many Deployments: one for the release, or one for each of `models` where no router serves
them. A server is a context as helm gives one, with the values that hold for it and, with a model of its own, `.Model`;
so whatever is rendered for a server is rendered for any of them by the same template.
*/}}

{{/* "true" when each of `models` has a Deployment of its own. */}}
{{- define "llamacpp-app.eachIsServed" -}}
{{- if and .Values.models (not .Values.server.router.enabled) -}}true{{- end -}}
{{- end -}}

{{/* The servers as a JSON list of {Values, Model?}. */}}
{{- define "llamacpp-app.servers" -}}
{{- $servers := list -}}
{{- if include "llamacpp-app.eachIsServed" . -}}
{{- range $i, $model := include "llamacpp-app.models" . | fromJsonArray -}}
{{- $own := $model.values | default dict -}}
{{- $values := include "llamacpp-app.laidOver" (list (omit $.Values "models") $own) | fromJson -}}
{{- $_ := set $values "models" (list $model) -}}
{{- $_ := set $values.model "alias" $model.name -}}
{{- $apis := include "llamacpp-app.modelApis" $model | fromJsonArray -}}
{{- if and (not (has "completions" $apis)) (not (hasKey ($own.server | default dict) "completions")) -}}
{{- $_ := set $values.server "completions" false -}}
{{- end -}}
{{- range $api, $ingress := $values.ingresses -}}
{{- if and (not (has $api $apis)) (not (hasKey ($own.ingresses | default dict) $api)) -}}
{{- $_ := set $ingress "enabled" false -}}
{{- end -}}
{{- end -}}
{{- $servers = append $servers (dict "Values" $values "Model" (merge (dict "index" $i) (omit $model "values"))) -}}
{{- end -}}
{{- else -}}
{{- $servers = list (dict "Values" .Values) -}}
{{- end -}}
{{- toJson $servers -}}
{{- end -}}

{{/* The APIs that a model is for, by its args, as a JSON list. */}}
{{- define "llamacpp-app.modelApis" -}}
{{- $words := list -}}
{{- range .args }}{{ $words = append $words (toString . | replace "_" "-") }}{{ end -}}
{{- $apis := list -}}
{{- if or (has "--embedding" $words) (has "--embeddings" $words) }}{{ $apis = append $apis "embeddings" }}{{ end -}}
{{- if or (has "--rerank" $words) (has "--reranking" $words) }}{{ $apis = append $apis "reranking" }}{{ end -}}
{{- $apis | default (list "completions") | toJson -}}
{{- end -}}

{{/* A template in a server's context. Takes {ctx, server, template}, where `server` is one of `llamacpp-app.servers`. */}}
{{- define "llamacpp-app.inServer" -}}
{{- include .template (merge (dict "Values" .server.Values "Model" .server.Model "Root" .ctx) (omit .ctx "Values")) -}}
{{- end -}}

{{/* A template in each server's context, as documents. Takes {ctx, template}. */}}
{{- define "llamacpp-app.eachServer" -}}
{{- $documents := list -}}
{{- range include "llamacpp-app.servers" .ctx | fromJsonArray -}}
{{- with include "llamacpp-app.inServer" (dict "ctx" $.ctx "server" . "template" $.template) | trim -}}
{{- $documents = append $documents . -}}
{{- end -}}
{{- end -}}
{{- join "\n---\n" $documents -}}
{{- end -}}

{{/* What a template says in each server's context, as a JSON list of texts. Takes {ctx, template}. */}}
{{- define "llamacpp-app.ofEachServer" -}}
{{- $texts := list -}}
{{- range include "llamacpp-app.servers" .ctx | fromJsonArray -}}
{{- $texts = append $texts (include "llamacpp-app.inServer" (dict "ctx" $.ctx "server" . "template" $.template)) -}}
{{- end -}}
{{- toJson $texts -}}
{{- end -}}

{{/* The same of the servers before this one. Takes {ctx, template}, where `ctx` is a server's. */}}
{{- define "llamacpp-app.ofEarlierServers" -}}
{{- $texts := list -}}
{{- if .ctx.Model -}}
{{- range slice (include "llamacpp-app.servers" .ctx.Root | fromJsonArray) 0 (int .ctx.Model.index) -}}
{{- $texts = append $texts (include "llamacpp-app.inServer" (dict "ctx" $.ctx.Root "server" . "template" $.template)) -}}
{{- end -}}
{{- end -}}
{{- toJson $texts -}}
{{- end -}}

{{/* Name of a server's objects: the release's, and the model's behind it. */}}
{{- define "llamacpp-app.serverName" -}}
{{- $fullname := include "llamacpp-app.fullname" . -}}
{{- if .Model -}}
{{- include "llamacpp-app.short" (printf "%s-%s" $fullname (include "llamacpp-app.modelLabel" .Model)) -}}
{{- else -}}
{{- $fullname -}}
{{- end -}}
{{- end -}}

{{/* A model's name as a part of a Service's. */}}
{{- define "llamacpp-app.modelLabel" -}}
{{- include "llamacpp-app.short" (regexReplaceAll "[^a-z0-9]+" (lower .name) "-" | trimSuffix "-") -}}
{{- end -}}

{{/* A name that leaves room for what others put behind it: of a long one the beginning, and a hash of all of it. */}}
{{- define "llamacpp-app.short" -}}
{{- if gt (len .) 48 -}}
{{- printf "%s-%s" (trunc 39 . | trimSuffix "-") (sha256sum . | trunc 8) -}}
{{- else -}}
{{- . -}}
{{- end -}}
{{- end -}}

{{/* What the names of pods look like, as Prometheus matches them. Takes the names of their Deployments. */}}
{{- define "llamacpp-app.podPattern" -}}
{{- $names := first . -}}
{{- if gt (len .) 1 }}{{ $names = printf "(%s)" (join "|" .) }}{{ end -}}
{{- printf "%s-[a-z0-9]+(-[a-z0-9]{5})?" $names -}}
{{- end -}}

{{/* The port that a server listens on. */}}
{{- define "llamacpp-app.serverPort" -}}
{{- .Values.server.port | int -}}
{{- end -}}
