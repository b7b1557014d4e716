{{/*
Values that can't work together, one line each. What a single value may be is in values.schema.json.
*/}}

{{- define "llamacpp-app.validate" -}}
{{- $problems := list -}}
{{- range list "model" "fetch" "server" "gpu" "address" "routes" "scaling" -}}
{{- $problems = concat $problems (include (printf "llamacpp-app.problems.%s" .) $ | fromJsonArray) -}}
{{- end -}}
{{- if $problems -}}
{{- fail (printf "\n\n%s: these values can't work:\n  - %s\n" .Chart.Name (join "\n  - " $problems)) -}}
{{- end -}}
{{- end -}}

{{- define "llamacpp-app.problems.model" -}}
{{- $problems := list -}}
{{- with .Values.model -}}
{{- if and (not (contains "/" .repo)) (not (contains "/" .file)) -}}
{{- $problems = append $problems (printf "model.repo=%s is an owner without a repository: write owner/name, or begin model.file with the repository's name" .repo) -}}
{{- end -}}
{{- if and (regexMatch "-[0-9]{5}-of-[0-9]{5}\\.gguf$" .file) (not (regexMatch "-00001-of-[0-9]{5}\\.gguf$" .file)) -}}
{{- $problems = append $problems (printf "model.file=%s is a later shard: name the first one (-00001-of-…), the others follow" .file) -}}
{{- end -}}
{{- if and .localFile (ne $.Values.fetch.mode "none") -}}
{{- $problems = append $problems "model.localFile names a file that is already on the claim: set fetch.mode=none, or use model.repo and model.file" -}}
{{- end -}}
{{- if and (or .sha256 .extraSha256) (eq $.Values.fetch.mode "none") -}}
{{- $problems = append $problems "model.sha256 is checked by the fetch, which fetch.mode=none never runs: remove the digest or fetch" -}}
{{- end -}}
{{- if regexMatch "^/(tmp|app|etc|proc|sys|dev|usr|lib|lib64|bin)?(/.*)?$" .path -}}
{{- $problems = append $problems (printf "model.path=%s would hide a folder that the server's container needs: use another, such as /models" .path) -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}

{{- define "llamacpp-app.problems.fetch" -}}
{{- $problems := list -}}
{{- $modes := .Values.persistence.accessModes -}}
{{- if and (has "ReadWriteOncePod" $modes) (gt (len $modes) 1) -}}
{{- $problems = append $problems "persistence.accessModes: ReadWriteOncePod can't be combined with another mode" -}}
{{- end -}}
{{- if and (has "ReadWriteOncePod" $modes) (eq .Values.fetch.mode "job") -}}
{{- $problems = append $problems "persistence.accessModes=ReadWriteOncePod admits one pod, so the download Job would wait for the server for ever: set fetch.mode=initContainer" -}}
{{- end -}}
{{- if and (eq (join "," $modes) "ReadOnlyMany") (ne .Values.fetch.mode "none") -}}
{{- $problems = append $problems "persistence.accessModes=ReadOnlyMany can't be written: set fetch.mode=none" -}}
{{- end -}}
{{- if and (include "llamacpp-app.ensuresClaim" .) (not .Values.rbac.create) (not .Values.rbac.serviceAccountName) -}}
{{- $problems = append $problems "rbac.create=false leaves the PreSync claim helper without rights: set rbac.serviceAccountName, fetch.job.hook=Sync or persistence.existingClaim" -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}

{{- define "llamacpp-app.problems.server" -}}
{{- $problems := list -}}
{{- range (include "llamacpp-app.extraArgs" . | fromJson).problems -}}
{{- $problems = append $problems (printf "server.extraArgs: %s" .) -}}
{{- end -}}
{{- $reranks := or (has "--reranking" .Values.server.extraArgs) (has "--rerank" .Values.server.extraArgs) -}}
{{- with .Values.server -}}
{{- if not (or .completions .embeddings $reranks) -}}
{{- $problems = append $problems "server.completions=false and server.embeddings=false leave nothing to serve: enable one" -}}
{{- end -}}
{{- if and .embeddings $reranks -}}
{{- $problems = append $problems "server.embeddings=true and --reranking need different models: use one release each" -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}

{{- define "llamacpp-app.problems.gpu" -}}
{{- $problems := list -}}
{{- if .Values.gpu.dra.enabled -}}
{{- if not .Values.gpu.enabled -}}
{{- $problems = append $problems "gpu.dra.enabled=true needs gpu.enabled=true" -}}
{{- end -}}
{{- if semverCompare "<1.34.0-0" .Capabilities.KubeVersion.Version -}}
{{- $problems = append $problems (printf "gpu.dra.enabled=true needs Kubernetes 1.34 or later, this is %s: use gpu.nvidiaResource" .Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}

{{- define "llamacpp-app.problems.address" -}}
{{- $problems := list -}}
{{- $sealed := .Values.sealedSecret.encryptedData.loadBalancerIP -}}
{{- with .Values.service -}}
{{- $sources := list -}}
{{- if .loadBalancerIP }}{{ $sources = append $sources "service.loadBalancerIP" }}{{ end -}}
{{- if $sealed }}{{ $sources = append $sources "sealedSecret.encryptedData.loadBalancerIP" }}{{ end -}}
{{- if .loadBalancer.ipSecret.name }}{{ $sources = append $sources "service.loadBalancer.ipSecret" }}{{ end -}}
{{- if gt (len $sources) 1 -}}
{{- $problems = append $problems (printf "%s: give the address once" (join " and " $sources)) -}}
{{- end -}}
{{- if and $sources (ne .type "LoadBalancer") -}}
{{- $problems = append $problems (printf "%s needs service.type=LoadBalancer, not %s" (first $sources) .type) -}}
{{- end -}}
{{- $key := include "llamacpp-app.lbAnnotationKey" $ -}}
{{- if and $sources $key (hasKey .annotations $key) -}}
{{- $problems = append $problems (printf "service.annotations sets %s, which %s sets too: keep one" $key (first $sources)) -}}
{{- end -}}
{{- if and (eq .loadBalancer.provider "spec") .loadBalancer.annotationKey -}}
{{- $problems = append $problems "service.loadBalancer.provider=spec writes no annotation: remove annotationKey or name another provider" -}}
{{- end -}}
{{- if and (contains "," .loadBalancerIP) (eq .loadBalancer.provider "spec") -}}
{{- $problems = append $problems (printf "service.loadBalancerIP=%s: spec.loadBalancerIP holds one address; two need a provider with an annotation" .loadBalancerIP) -}}
{{- end -}}
{{- if and .externalTrafficPolicy (eq .type "ClusterIP") -}}
{{- $problems = append $problems "service.externalTrafficPolicy needs service.type LoadBalancer or NodePort, not ClusterIP" -}}
{{- end -}}
{{- end -}}
{{- if and (include "llamacpp-app.patchesService" .) (not .Values.rbac.create) (not .Values.rbac.serviceAccountName) -}}
{{- $problems = append $problems "rbac.create=false leaves the Job that writes the address without rights: set rbac.serviceAccountName" -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}

{{- define "llamacpp-app.problems.routes" -}}
{{- $problems := list -}}
{{- range $api := list "completions" "embeddings" -}}
{{- $ingress := get $.Values.ingresses $api -}}
{{- if $ingress.enabled -}}
{{- if not (get $.Values.server $api) -}}
{{- $problems = append $problems (printf "ingresses.%s.enabled=true needs server.%s=true" $api $api) -}}
{{- end -}}
{{- if not $ingress.hosts -}}
{{- $problems = append $problems (printf "ingresses.%s.enabled=true needs at least one host in ingresses.%s.hosts" $api $api) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) -}}
{{- $problems = append $problems "httpRoute.enabled=true needs a gateway in httpRoute.parentRefs" -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}

{{- define "llamacpp-app.problems.scaling" -}}
{{- $problems := list -}}
{{- $replicas := .Values.replicaCount | default 1 -}}
{{- with .Values.autoscaling -}}
{{- if .enabled -}}
{{- $replicas = .maxReplicas -}}
{{- if gt (int .minReplicas) (int .maxReplicas) -}}
{{- $problems = append $problems (printf "autoscaling.minReplicas=%d is more than maxReplicas=%d" (int .minReplicas) (int .maxReplicas)) -}}
{{- end -}}
{{- if not $.Values.server.metrics -}}
{{- $problems = append $problems "autoscaling.enabled=true needs server.metrics=true: it scales on the queue's length" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if gt (int $replicas) 1 -}}
{{- if has "ReadWriteOncePod" .Values.persistence.accessModes -}}
{{- $problems = append $problems (printf "persistence.accessModes=ReadWriteOncePod admits one pod, not %d replicas" (int $replicas)) -}}
{{- else if and (include "llamacpp-app.oneNodeVolume" .) (not .Values.persistence.coLocate) -}}
{{- $problems = append $problems (printf "%d replicas can't share a ReadWriteOnce claim across nodes: use ReadWriteMany, or persistence.coLocate=true for one node" (int $replicas)) -}}
{{- end -}}
{{- end -}}
{{- with .Values.metrics -}}
{{- if and .serviceMonitor.enabled .podMonitor.enabled -}}
{{- $problems = append $problems "metrics.serviceMonitor and metrics.podMonitor would scrape every pod twice: enable one" -}}
{{- end -}}
{{- if and (or .serviceMonitor.enabled .podMonitor.enabled) (not $.Values.server.metrics) -}}
{{- $problems = append $problems "metrics.serviceMonitor and metrics.podMonitor need server.metrics=true" -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}
