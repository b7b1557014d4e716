{{/* What works but is probably not meant: an annotation of the Deployment, and in NOTES.txt. */}}
{{- define "llamacpp-app.warnings" -}}
{{- $warnings := list -}}
{{- if include "llamacpp-app.serverImageFloats" . -}}
{{- $warnings = append $warnings (printf "Image %s moves: set images.server.tag to a build such as b11434, or images.server.digest." (include "llamacpp-app.serverImage" .)) -}}
{{- end -}}
{{- if contains "ggerganov/" .Values.images.server.repository -}}
{{- $warnings = append $warnings "images.server.repository names the old owner; llama.cpp publishes at ghcr.io/ggml-org/llama.cpp." -}}
{{- end -}}
{{- range .Values.models -}}
{{- if and (ne $.Values.fetch.mode "none") (not .sha256) (not (regexMatch "^[0-9a-f]{40}$" (.revision | default ""))) -}}
{{- $warnings = append $warnings (printf "Model %s is not pinned: %s may change. Set its revision to a commit, or its sha256." .name (.revision | default "main")) -}}
{{- end -}}
{{- end -}}
{{- if and (not .Values.models) (not (regexMatch "^[0-9a-f]{40}$" .Values.model.revision)) (not .Values.model.sha256) (ne .Values.fetch.mode "none") -}}
{{- $warnings = append $warnings (printf "The model is not pinned: %s may change. Set model.revision to a commit or model.sha256." .Values.model.revision) -}}
{{- end -}}
{{- if and .Values.server.completions (not .Values.models) (include "llamacpp-app.reranks" .) -}}
{{- $warnings = append $warnings "A reranking model answers no completions: set server.completions=false, so that routes don't offer them." -}}
{{- end -}}
{{- if and .Values.server.completions .Values.server.embeddings (not .Values.models) -}}
{{- $warnings = append $warnings "server.embeddings=true starts the embeddings mode, and few models do both well: set server.completions=false, or use one release each." -}}
{{- end -}}
{{- if and .Values.server.metrics .Values.metrics.annotations .Values.server.apiKeySecret.name -}}
{{- $warnings = append $warnings "The prometheus.io annotations are left out: with API keys /metrics needs one, which only a ServiceMonitor or PodMonitor can send." -}}
{{- end -}}
{{- if and .Values.server.apiKeySecret.name (or .Values.metrics.serviceMonitor.enabled .Values.metrics.podMonitor.enabled) (not .Values.metrics.apiKeySecret.name) -}}
{{- $warnings = append $warnings (printf "The monitor sends all of server.apiKeySecret's key %s as one API key: with several lines in it, put one of them into metrics.apiKeySecret." .Values.server.apiKeySecret.key) -}}
{{- end -}}
{{- if and .Values.persistence.existingClaim (not .Values.model.dir) (not .Values.models) (ne .Values.fetch.mode "none") -}}
{{- $warnings = append $warnings "Other releases on persistence.existingClaim that fetch a file of the same name replace this one: set model.dir." -}}
{{- end -}}
{{- if and (gt (int (.Values.replicaCount | default 1)) 1) (include "llamacpp-app.oneNodeVolume" .) -}}
{{- $warnings = append $warnings "All replicas run on one node, because the claim is ReadWriteOnce: the node needs a GPU for each." -}}
{{- end -}}
{{- if and .Model (gt (len .Root.Values.models) 1) (include "llamacpp-app.oneNodeVolume" .) -}}
{{- $warnings = append $warnings "The servers of all models run on one node, because the claim is ReadWriteOnce: it needs GPUs and memory for all of them." -}}
{{- end -}}
{{- if and (eq .Values.strategy.type "RollingUpdate") (include "llamacpp-app.usesGpu" .) -}}
{{- $warnings = append $warnings "strategy.type=RollingUpdate starts the new pod before the old one ends: it needs a second free GPU." -}}
{{- end -}}
{{- if and (not (include "llamacpp-app.usesGpu" .)) (contains "cuda" (include "llamacpp-app.serverImage" .)) -}}
{{- $warnings = append $warnings "No GPU with a CUDA image: set gpu.vendor=cpu, or images.server.name=server." -}}
{{- end -}}
{{- if and (eq .Values.service.type "LoadBalancer") (not .Values.server.apiKeySecret.name) -}}
{{- $warnings = append $warnings "Everyone who reaches the load balancer can use the server: set server.apiKeySecret or service.loadBalancerSourceRanges." -}}
{{- end -}}
{{- toJson $warnings -}}
{{- end -}}
