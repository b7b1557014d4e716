{{/*
Scrape endpoints of a ServiceMonitor or PodMonitor as a YAML list: one, or one for each model of a router, which is not
to load a model because somebody measures it. Takes {ctx, interval}.
*/}}
{{- define "llamacpp-app.scrapeEndpoints" -}}
{{- $endpoint := include "llamacpp-app.scrapeEndpoint" . | fromYaml -}}
{{- $endpoints := list $endpoint -}}
{{- if .ctx.Model -}}
{{- $endpoints = list (merge (dict "relabelings" (include "llamacpp-app.modelRelabelings" .ctx.Model | fromJsonArray)) $endpoint) -}}
{{- else if .ctx.Values.models -}}
{{- $endpoints = list -}}
{{- range .ctx.Values.models -}}
{{- $relabel := include "llamacpp-app.modelRelabelings" . | fromJsonArray -}}
{{- $endpoints = append $endpoints (merge (dict "params" (dict "model" (list .name) "autoload" (list "false")) "relabelings" $relabel) $endpoint) -}}
{{- end -}}
{{- end -}}
{{- toYaml $endpoints -}}
{{- end -}}

{{/* What gives the series of a model its name, as a JSON list. */}}
{{- define "llamacpp-app.modelRelabelings" -}}
{{- list (dict "targetLabel" "model" "replacement" .name) | toJson -}}
{{- end -}}

{{/* What all endpoints have in common. Takes {ctx, interval}. */}}
{{- define "llamacpp-app.scrapeEndpoint" -}}
port: http
path: /metrics
interval: {{ .interval }}
{{- if .ctx.Values.server.apiKeySecret.name }}
{{- with ternary .ctx.Values.metrics.apiKeySecret .ctx.Values.server.apiKeySecret (ne .ctx.Values.metrics.apiKeySecret.name "") }}
# With API keys the server asks for one here, too: exactly one, where its own list may have several.
authorization:
  type: Bearer
  credentials:
    name: {{ .name | quote }}
    key: {{ .key | quote }}
{{- end }}
{{- end }}
{{- end -}}
