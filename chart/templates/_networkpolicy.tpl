{{/* Where downloads and helpers may go, as a YAML list of egress rules. */}}
{{- define "llamacpp-app.jobsEgress" -}}
{{- $dnsPorts := .Values.openshift.enabled | ternary (list 53 5353) (list 53) -}}
{{- $dns := .Values.networkPolicy.dns -}}
{{- if .Values.openshift.enabled -}}
{{- $openshift := dict "namespaceSelector" (dict "matchLabels" (dict "kubernetes.io/metadata.name" "openshift-dns")) -}}
{{- $dns = append $dns $openshift -}}
{{- end -}}
- ports:
    {{- range $dnsPorts }}
    - port: {{ . }}
      protocol: UDP
    - port: {{ . }}
      protocol: TCP
    {{- end }}
  {{- with $dns }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- with .Values.networkPolicy.egressPorts }}
- ports:
    {{- range . }}
    - port: {{ . | int }}
      protocol: TCP
    {{- end }}
{{- end }}
{{- with .Values.networkPolicy.extraEgress }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* "true" when the server's pod has to reach the Hub itself. After Argo CD's download the guard finds the file. */}}
{{- define "llamacpp-app.serverPodDownloads" -}}
{{- if include "llamacpp-app.fetchesInServerPod" . -}}
{{- if not (and .Values.argocd.enabled (eq .Values.fetch.mode "job")) -}}true{{- end -}}
{{- end -}}
{{- end -}}

{{/* Argo CD annotations as YAML of what the download's pod needs. */}}
{{- define "llamacpp-app.beforeDownload" -}}
{{- if and .Values.argocd.enabled (eq .Values.fetch.mode "job") -}}
{{- if eq .Values.fetch.job.hook "PreSync" -}}
{{- include "llamacpp-app.argoHook" (dict "ctx" . "hook" "PreSync" "wave" -3) -}}
{{- else -}}
argocd.argoproj.io/sync-wave: "-2"
{{- end -}}
{{- end -}}
{{- end -}}
