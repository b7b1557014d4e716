{{/* One scrape endpoint of a ServiceMonitor or PodMonitor. Takes {ctx, interval}. */}}
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
