{{/*
Values that can't work together, one line each. What a single value may be is in values.schema.json.
*/}}

{{- define "llamacpp-app.validate" -}}
{{- $problems := list -}}
{{- $ofServers := list "server" "pods" "gpu" "address" "routes" "scaling" -}}
{{- range list "release" "repo" "model" "models" "servers" "claim" "volume" "fetch" "server" "pods" "gpu" "address" "routes" "networkPolicy" "scaling" "objects" -}}
{{- $template := printf "llamacpp-app.problems.%s" . -}}
{{- if has . $ofServers -}}
{{- $problems = concat $problems (include "llamacpp-app.problemsOfServers" (dict "ctx" $ "template" $template) | fromJsonArray) -}}
{{- else -}}
{{- $problems = concat $problems (include $template $ | fromJsonArray) -}}
{{- end -}}
{{- end -}}
{{- if $problems -}}
{{- fail (printf "\n\n%s: these values can't work:\n  - %s\n" .Chart.Name (join "\n  - " $problems)) -}}
{{- end -}}
{{- end -}}

{{/* What is wrong with the servers, as JSON: once what is wrong with all, and by the model what is wrong with some. Takes {ctx, template}. */}}
{{- define "llamacpp-app.problemsOfServers" -}}
{{- $found := list -}}
{{- range include "llamacpp-app.ofEachServer" . | fromJsonArray }}{{ $found = append $found (fromJsonArray .) }}{{ end -}}
{{- $problems := list -}}
{{- range $i, $own := $found -}}
{{- range $problem := $own -}}
{{- $common := true -}}
{{- range $found }}{{ if not (has $problem .) }}{{ $common = false }}{{ end }}{{ end -}}
{{- $place := "" -}}
{{- if not $common }}{{ $place = printf "models[%d] (%s): " $i (index $.ctx.Values.models $i).name }}{{ end -}}
{{- $problems = append $problems (printf "%s%s" $place $problem) -}}
{{- end -}}
{{- end -}}
{{- uniq $problems | toJson -}}
{{- end -}}

{{- define "llamacpp-app.problems.release" -}}
{{- $problems := list -}}
{{- if and (hasKey .Values "enabled") (not .Values.enabled) -}}
{{- $problems = append $problems "enabled=false is a parent chart's condition (llamacpp-app.enabled); by itself it turns nothing off" -}}
{{- end -}}
{{- range $key := list "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/component" "app.kubernetes.io/managed-by" "modelfetch/claim" "modelfetch/model" -}}
{{- $maps := dict
    "commonLabels" $.Values.commonLabels
    "podLabels" $.Values.podLabels
    "fetch.job.podLabels" $.Values.fetch.job.podLabels
    "helpers.podLabels" $.Values.helpers.podLabels -}}
{{- range $name, $labels := $maps -}}
{{- if hasKey $labels $key -}}
{{- $problems = append $problems (printf "%s sets %s, by which the release's own objects are found: remove it" $name $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if hasKey .Values.podAnnotations "checksum/model" -}}
{{- $problems = append $problems "podAnnotations sets checksum/model, which restarts the server for another model: remove it" -}}
{{- end -}}
{{- if hasKey .Values.helpers.podAnnotations "modelfetch/claim-manifest" -}}
{{- $problems = append $problems "helpers.podAnnotations sets modelfetch/claim-manifest, which holds the claim: remove it" -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}

{{/* What people paste into `model.repo`, and what to write instead. */}}
{{- define "llamacpp-app.problems.repo" -}}
{{- $problems := list -}}
{{- $repo := .Values.model.repo -}}
{{- $owner := "[A-Za-z0-9][-._A-Za-z0-9]*" -}}
{{- if not (or (hasPrefix "oci://" $repo) (regexMatch (printf "^%s(/%s)?$" $owner $owner) $repo)) -}}
{{- $address := regexFind "^(https?://[^/]+/|hf://)" $repo -}}
{{- $path := trimPrefix $address $repo | splitList "?" | first | trimSuffix "/" -}}
{{- $parts := splitList "/" $path -}}
{{- if and $address (ge (len $parts) 2) -}}
{{- $advice := printf "model.repo=%s/%s" (index $parts 0) (index $parts 1) -}}
{{- $rest := slice $parts 2 -}}
{{- if and $rest (has (first $rest) (list "blob" "resolve" "tree" "raw")) -}}
{{- if gt (len $rest) 1 }}{{ $advice = printf "%s, model.revision=%s" $advice (index $rest 1) }}{{ end -}}
{{- $rest = ternary (slice $rest 2) list (ge (len $rest) 2) -}}
{{- end -}}
{{- if $rest }}{{ $advice = printf "%s, model.file=%s" $advice (join "/" $rest) }}{{ end -}}
{{- $host := regexFind "://[^/]+" $address | trimPrefix "://" -}}
{{- if and (ne $address "hf://") (not (has $host (list "huggingface.co" "hf.co" "www.huggingface.co"))) -}}
{{- $advice = printf "%s, fetch.endpoints=[%s]" $advice (trimSuffix "/" $address) -}}
{{- end -}}
{{- $problems = append $problems (printf "model.repo=%s is an address: write %s" $repo $advice) -}}
{{- else if regexMatch (printf "^%s/%s:.+$" $owner $owner) $repo -}}
{{- $named := splitList ":" $repo -}}
{{- $problems = append $problems (printf "model.repo=%s names a quantization, and the server is started with a file: write model.repo=%s and model.file=<its .gguf>, which `modelfetch plan %s` shows" $repo (first $named) $repo) -}}
{{- else if regexMatch (printf "^%s/%s@.+$" $owner $owner) $repo -}}
{{- $named := splitList "@" $repo -}}
{{- $problems = append $problems (printf "model.repo=%s names a revision: write model.repo=%s, model.revision=%s" $repo (first $named) (last $named)) -}}
{{- else if and (not $address) (gt (len (splitList "/" $repo)) 2) -}}
{{- $problems = append $problems (printf "model.repo=%s has more than owner/name: the rest belongs to model.file" $repo) -}}
{{- else -}}
{{- $problems = append $problems (printf "model.repo=%s is neither an owner nor owner/name on the Hub" $repo) -}}
{{- end -}}
{{- end -}}
{{- if regexMatch "^[a-z]+://" .Values.model.file -}}
{{- $problems = append $problems (printf "model.file=%s is an address: put the repository into model.repo and the path inside it into model.file" .Values.model.file) -}}
{{- end -}}
{{- if and .Values.model.sha256 (hasKey .Values.model.extraSha256 (include "llamacpp-app.hubFile" .)) -}}
{{- $problems = append $problems (printf "model.extraSha256 names %s, whose digest is model.sha256: keep one" (include "llamacpp-app.hubFile" .)) -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}

{{/* Annotations by which the claim outlives a sync and an uninstall. */}}
{{- define "llamacpp-app.problems.claim" -}}
{{- $problems := list -}}
{{- $annotations := .Values.persistence.annotations -}}
{{- $options := "argocd.argoproj.io/sync-options" -}}
{{- range $key, $value := include "llamacpp-app.claimOwnAnnotations" . | fromJson -}}
{{- if and (hasKey $annotations $key) (ne $key $options) (ne (get $annotations $key) $value) -}}
{{- $problems = append $problems (printf "persistence.annotations sets %s, which the chart sets to %s: remove it%s" $key $value (ternary " or set persistence.keep=false" "" (eq $key "helm.sh/resource-policy"))) -}}
{{- end -}}
{{- end -}}
{{- range $key := list "argocd.argoproj.io/hook" "helm.sh/hook" -}}
{{- if hasKey $annotations $key -}}
{{- $problems = append $problems (printf "persistence.annotations sets %s: a claim that is a hook is deleted with its model, so remove it" $key) -}}
{{- end -}}
{{- end -}}
{{- if .Values.persistence.keep -}}
{{- range splitList "," (get $annotations $options | nospace) -}}
{{- if regexMatch "^(Prune|Delete)=" . -}}
{{- if not (has . (list "Prune=false" "Delete=false")) -}}
{{- $problems = append $problems (printf "persistence.annotations asks for %s, against persistence.keep=true: change one" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}

{{- define "llamacpp-app.problems.model" -}}
{{- $problems := list -}}
{{- with .Values.model -}}
{{- if and (regexMatch "^[-._A-Za-z0-9]+$" .repo) (not (contains "/" .file)) -}}
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
{{- if ne (empty .hfOidc.resource) (empty .hfOidc.audience) -}}
{{- $problems = append $problems "model.hfOidc.resource and model.hfOidc.audience go together: set both (the audience of the Hub is https://huggingface.co), or neither" -}}
{{- end -}}
{{- if and .hfOidc.resource .hfTokenSecret.name -}}
{{- $problems = append $problems "model.hfTokenSecret and model.hfOidc are two ways to one token: remove one" -}}
{{- end -}}
{{- if regexMatch "^/(tmp|app|etc|proc|sys|dev|usr|lib|lib64|bin)?(/.*)?$" .path -}}
{{- $problems = append $problems (printf "model.path=%s would hide a folder that the server's container needs: use another, such as /models" .path) -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}

{{- define "llamacpp-app.problems.models" -}}
{{- $problems := list -}}
{{- $names := list -}}
{{- $paths := list -}}
{{- $owner := "[A-Za-z0-9][-._A-Za-z0-9]*" -}}
{{- range $i, $model := include "llamacpp-app.models" . | fromJsonArray -}}
{{- $place := printf "models[%d] (%s)" $i .name -}}
{{- $names = append $names .name -}}
{{- if not (or (hasPrefix "oci://" .repo) (regexMatch (printf "^%s/%s$" $owner $owner) .repo)) -}}
{{- $problems = append $problems (printf "%s: repo=%s is not owner/name; path, revision and quantization have keys of their own" $place .repo) -}}
{{- end -}}
{{- if or (not (hasSuffix ".gguf" .file)) (regexMatch "[*?\\[\\];#]" .file) -}}
{{- $problems = append $problems (printf "%s: the server needs the name of a .gguf file: set file, or put it first into files" $place) -}}
{{- end -}}
{{- range uniq (append .files .file) }}{{ if not (regexMatch "[*?\\[]" .) }}{{ $paths = append $paths (printf "%s/%s" $model.dir .) }}{{ end }}{{ end -}}
{{- range (include "llamacpp-app.modelArgs" (dict "ctx" $ "model" $model) | fromJson).problems -}}
{{- $problems = append $problems (printf "%s: %s" $place .) -}}
{{- end -}}
{{- if and .values $.Values.server.router.enabled -}}
{{- $problems = append $problems (printf "%s: values are for a Deployment of its own: set server.router.enabled=false" $place) -}}
{{- end -}}
{{- if and (has "--embeddings" (.args | default list)) (has "--reranking" (.args | default list)) -}}
{{- $problems = append $problems (printf "%s: --embeddings and --reranking need different models" $place) -}}
{{- end -}}
{{- end -}}
{{- if .Values.models -}}
{{- range include "llamacpp-app.twice" $names | fromJsonArray -}}
{{- $problems = append $problems (printf "models: two are called %s, by which clients choose: give each its name" .) -}}
{{- end -}}
{{- range include "llamacpp-app.twice" $paths | fromJsonArray -}}
{{- $problems = append $problems (printf "models: two want %s/%s and would replace each other's file: give each its dir" $.Values.model.path .) -}}
{{- end -}}
{{- range $key := list "sha256" "extraFiles" "extraSha256" "localFile" "dir" -}}
{{- if get $.Values.model $key -}}
{{- $problems = append $problems (printf "model.%s is for one model: with models, say it there" $key) -}}
{{- end -}}
{{- end -}}
{{- if include "llamacpp-app.isRouter" . -}}
{{- $known := .Files.Get "files/llama-server-options.json" | fromJson -}}
{{- $all := (include "llamacpp-app.extraArgs" . | fromJson).args -}}
{{- range .Values.models }}{{ range .args }}{{ $all = append $all (include "llamacpp-app.argText" .) }}{{ end }}{{ end -}}
{{- range $all -}}
{{- if gt (get $known.options . | default 0 | int) 1 -}}
{{- $problems = append $problems (printf "models: `%s` takes two values, which a router's preset can't hold" .) -}}
{{- end -}}
{{- if regexMatch "[;#\\n]" . -}}
{{- $problems = append $problems (printf "models: `%s` has `;`, `#` or a line's end, where a router's preset ends a value" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}

{{/* Servers of a release that would be in each other's way, or that a value can't be for. */}}
{{- define "llamacpp-app.problems.servers" -}}
{{- $problems := list -}}
{{- if include "llamacpp-app.eachIsServed" . -}}
{{- $models := include "llamacpp-app.models" . | fromJsonArray -}}
{{- $servers := include "llamacpp-app.servers" . | fromJsonArray -}}
{{- $labels := list -}}
{{- $apis := list -}}
{{- range $models -}}
{{- $labels = append $labels (include "llamacpp-app.modelLabel" .) -}}
{{- $apis = concat $apis (include "llamacpp-app.modelApis" . | fromJsonArray) -}}
{{- if hasKey ((.values | default dict).server | default dict) "router" -}}
{{- $problems = append $problems (printf "models (%s): values.server.router is no value of one model" .name) -}}
{{- end -}}
{{- end -}}
{{- range include "llamacpp-app.twice" $labels | fromJsonArray -}}
{{- $problems = append $problems (printf "models: two would be the Service %s-%s: give them names that differ in more than signs and capitals" (include "llamacpp-app.fullname" $) .) -}}
{{- end -}}
{{- range $api, $ingress := .Values.ingresses -}}
{{- if and $ingress.enabled (not (has $api $apis)) -}}
{{- $problems = append $problems (printf "ingresses.%s.enabled=true, and no model is for %s by its args" $api $api) -}}
{{- end -}}
{{- end -}}
{{- if include "llamacpp-app.patchesService" . -}}
{{- $problems = append $problems "server.router.enabled=false makes a Service for each model, and a sealed address or service.loadBalancer.ipSecret is for one: write service.loadBalancerIP into a model's values, or use ingresses" -}}
{{- end -}}
{{- $addresses := list -}}
{{- $nodePorts := list -}}
{{- $hostPorts := list -}}
{{- range $servers -}}
{{- $service := .Values.service -}}
{{- $shares := regexMatch "allow-shared-ip|sharing-key" (keys $service.annotations | join " ") -}}
{{- range without (splitList "," (nospace $service.loadBalancerIP)) "" -}}
{{- $addresses = append $addresses (ternary (printf "%s, port %d" . ($service.port | default $.Values.server.port | int)) . $shares) -}}
{{- end -}}
{{- if $service.nodePort }}{{ $nodePorts = append $nodePorts (toString (int $service.nodePort)) }}{{ end -}}
{{- if .Values.server.hostPort }}{{ $hostPorts = append $hostPorts (toString (int .Values.server.hostPort)) }}{{ end -}}
{{- end -}}
{{- range include "llamacpp-app.twice" $addresses | fromJsonArray -}}
{{- $problems = append $problems (printf "models: two Services want the address %s: write service.loadBalancerIP into each model's values, or service.port and your provider's annotation for sharing" .) -}}
{{- end -}}
{{- range include "llamacpp-app.twice" $nodePorts | fromJsonArray -}}
{{- $problems = append $problems (printf "models: two Services want the node port %s: write service.nodePort into each model's values" .) -}}
{{- end -}}
{{- if include "llamacpp-app.oneNodeVolume" . -}}
{{- range include "llamacpp-app.twice" $hostPorts | fromJsonArray -}}
{{- $problems = append $problems (printf "models: two servers on one node want its port %s: write server.hostPort into each model's values" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}

{{/* A volume of one's own in place of the claim. */}}
{{- define "llamacpp-app.problems.volume" -}}
{{- $problems := list -}}
{{- with .Values.persistence.volume -}}
{{- if $.Values.persistence.existingClaim -}}
{{- $problems = append $problems "persistence.volume and persistence.existingClaim: name one of them" -}}
{{- end -}}
{{- if ne (len .) 1 -}}
{{- $problems = append $problems "persistence.volume has one source, such as {nfs: {server: …, path: …}}" -}}
{{- end -}}
{{- if hasKey . "name" -}}
{{- $problems = append $problems "persistence.volume takes the source alone, without a name" -}}
{{- end -}}
{{- if and (hasKey . "image") (ne $.Values.fetch.mode "none") -}}
{{- $problems = append $problems "persistence.volume: an image can't be written: set fetch.mode=none, and model.localFile to the file in it" -}}
{{- end -}}
{{- if and (hasKey . "image") (semverCompare "<1.31.0-0" $.Capabilities.KubeVersion.Version) -}}
{{- $problems = append $problems (printf "persistence.volume: an image needs Kubernetes 1.31 or later, this is %s" $.Capabilities.KubeVersion.Version) -}}
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
{{- range include "llamacpp-app.environmentProblems" . | fromJsonArray -}}
{{- $problems = append $problems (printf "server.extraEnv: %s" .) -}}
{{- end -}}
{{- if .Values.server.fit -}}
{{- range $word := list "-ngl" "--gpu-layers" "--n-gpu-layers" "-ncmoe" "--n-cpu-moe" "-fit" "--fit" -}}
{{- if has $word (include "llamacpp-app.extraArgs" $ | fromJson).args -}}
{{- $problems = append $problems (printf "server.fit=true lets the server decide what `%s` in server.extraArgs says: keep one" $word) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .Model (not (include "llamacpp-app.writesArgs" .)) -}}
{{- $problems = append $problems "server.router.enabled=false starts each server with its model: server.command and server.args would start them all alike, remove them" -}}
{{- end -}}
{{- if and .Model (or .Values.server.embeddings .Values.server.reranking) -}}
{{- $problems = append $problems "server.embeddings and server.reranking are for one model: with models, write --embeddings or --reranking into its args" -}}
{{- end -}}
{{- if and (kindIs "string" .Values.server.args) (ne .Values.server.args "auto") -}}
{{- $problems = append $problems "server.args is `auto` or a list" -}}
{{- end -}}
{{- $option := or (has "--reranking" .Values.server.extraArgs) (has "--rerank" .Values.server.extraArgs) -}}
{{- with .Values.server -}}
{{- if not (or .completions .embeddings (include "llamacpp-app.reranks" $) $.Values.models) -}}
{{- $problems = append $problems "server.completions=false, server.embeddings=false and server.reranking=false leave nothing to serve: enable one" -}}
{{- end -}}
{{- if and .embeddings (or .reranking $option) -}}
{{- $problems = append $problems "server.embeddings=true and server.reranking=true (--reranking) need different models: use one release each" -}}
{{- end -}}
{{- if and .reranking $option -}}
{{- $problems = append $problems "server.reranking=true writes --reranking: remove it from server.extraArgs" -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}

{{/* What the user adds to the pods, where the chart has an entry of that name. */}}
{{- define "llamacpp-app.problems.pods" -}}
{{- $problems := list -}}
{{- range $value, $entries := dict "server.extraEnv" .Values.server.extraEnv "fetch.extraEnv" .Values.fetch.extraEnv "server.extraVolumes" .Values.server.extraVolumes -}}
{{- $names := list -}}
{{- range $entries }}{{ $names = append $names (.name | default "") }}{{ end -}}
{{- if has "" $names -}}
{{- $problems = append $problems (printf "%s: an entry has no name" $value) -}}
{{- end -}}
{{- range include "llamacpp-app.twice" $names | fromJsonArray -}}
{{- $problems = append $problems (printf "%s names %s twice: keep one" $value .) -}}
{{- end -}}
{{- end -}}
{{- range .Values.server.extraVolumes -}}
{{- if has .name (list "models" "api-keys" "ca-bundle" "manifest" "preset" "registry-login" "id-token") -}}
{{- $problems = append $problems (printf "server.extraVolumes names a volume %s, which the chart has: choose another name" .name) -}}
{{- end -}}
{{- end -}}
{{- $paths := list .Values.model.path (include "llamacpp-app.apiKeyPath" .) -}}
{{- $own := list -}}
{{- range .Values.server.extraVolumeMounts -}}
{{- $path := .mountPath | default "" | trimSuffix "/" -}}
{{- $own = append $own $path -}}
{{- if has $path $paths -}}
{{- $problems = append $problems (printf "server.extraVolumeMounts mounts at %s, where the chart mounts its own: choose another path" $path) -}}
{{- end -}}
{{- end -}}
{{- range include "llamacpp-app.twice" $own | fromJsonArray -}}
{{- $problems = append $problems (printf "server.extraVolumeMounts mounts at %s twice: keep one" .) -}}
{{- end -}}
{{- $made := list -}}
{{- range include "llamacpp-app.fetchEnv" (dict "ctx" . "isGuard" true) | fromJsonArray }}{{ $made = append $made .name }}{{ end -}}
{{- range .Values.fetch.extraEnv -}}
{{- if and (hasPrefix "MODELFETCH_" .name) (has .name $made) -}}
{{- $problems = append $problems (printf "fetch.extraEnv sets %s, which the chart sets from a value under model or fetch: set that value" .name) -}}
{{- end -}}
{{- end -}}
{{- if .Values.securityContext.privileged -}}
{{- $problems = append $problems "securityContext: privileged=true would reach download and helpers, too: set privileged in server.securityContext" -}}
{{- end -}}
{{- $pod := include "llamacpp-app.podSecurity" (dict "ctx" . "over" .Values.server.podSecurityContext) | fromYaml -}}
{{- $effective := include "llamacpp-app.overlay" (list $pod (include "llamacpp-app.containerSecurity" (dict "ctx" . "over" .Values.server.securityContext) | fromYaml)) | fromJson -}}
{{- if and $effective.runAsNonRoot (eq (toString $effective.runAsUser) "0") -}}
{{- $problems = append $problems "runAsUser=0 with runAsNonRoot=true never starts: set runAsNonRoot=false beside it" -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}

{{- define "llamacpp-app.problems.gpu" -}}
{{- $problems := list -}}
{{- if and (eq .Values.gpu.vendor "vulkan") .Values.gpu.enabled (not (include "llamacpp-app.gpu" . | fromJson).resource) (not .Values.gpu.dra.enabled) (not .Values.server.securityContext.privileged) -}}
{{- $problems = append $problems "gpu.vendor=vulkan says how, not which GPU: set gpu.resource to the device plugin's, such as amd.com/gpu, or gpu.enabled=false where the device is mounted otherwise" -}}
{{- end -}}
{{- if and .Values.gpu.dra.claimName .Values.gpu.dra.claimTemplateName -}}
{{- $problems = append $problems "gpu.dra.claimName and gpu.dra.claimTemplateName: name one of them" -}}
{{- end -}}
{{- if .Values.gpu.dra.enabled -}}
{{- if and (include "llamacpp-app.makesClaimTemplate" .) (not (include "llamacpp-app.gpu" . | fromJson).class) -}}
{{- $problems = append $problems (printf "gpu.vendor=%s has no DeviceClass of its own: set gpu.dra.deviceClassName" .Values.gpu.vendor) -}}
{{- end -}}
{{- if not (include "llamacpp-app.usesGpu" .) -}}
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
{{- if and .nodePort (eq .type "ClusterIP") -}}
{{- $problems = append $problems "service.nodePort needs service.type NodePort or LoadBalancer, not ClusterIP" -}}
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
{{- $addresses := include "llamacpp-app.addresses" $ | fromJsonArray -}}
{{- $ipv6 := 0 -}}
{{- range $addresses }}{{ $ipv6 = add $ipv6 (ternary 1 0 (contains ":" .)) }}{{ end -}}
{{- if or (gt (len $addresses) 2) (and (eq (len $addresses) 2) (ne (int $ipv6) 1)) -}}
{{- $problems = append $problems (printf "service.loadBalancerIP=%s: a Service has at most one IPv4 and one IPv6 address" .loadBalancerIP) -}}
{{- end -}}
{{- if and (gt (len $addresses) 1) (eq .ipFamilyPolicy "SingleStack") -}}
{{- $problems = append $problems "service.ipFamilyPolicy=SingleStack has one address, service.loadBalancerIP two: leave the policy out" -}}
{{- end -}}
{{- if and (gt (len .ipFamilies) 1) (has .ipFamilyPolicy (list "" "SingleStack")) (lt (len $addresses) 2) -}}
{{- $problems = append $problems "service.ipFamilies has two families: set service.ipFamilyPolicy to PreferDualStack or RequireDualStack" -}}
{{- end -}}
{{- range $family, $found := dict "IPv6" (gt (int $ipv6) 0) "IPv4" (gt (sub (len $addresses) $ipv6 | int) 0) -}}
{{- if and $found $.Values.service.ipFamilies (not (has $family $.Values.service.ipFamilies)) -}}
{{- $problems = append $problems (printf "service.loadBalancerIP has an %s address, service.ipFamilies no %s: add it or leave the families out" $family $family) -}}
{{- end -}}
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
{{- range $api := include "llamacpp-app.apis" . | fromJsonArray -}}
{{- $ingress := get $.Values.ingresses $api -}}
{{- if $ingress.enabled -}}
{{- range $host, $paths := include "llamacpp-app.ingressPaths" (dict "ctx" $ "api" $api) | fromJson -}}
{{- if not $paths -}}
{{- $problems = append $problems (printf "ingresses.%s: another Ingress has all its paths on host %s already: give it other paths, or one Ingress alone" $api $host) -}}
{{- end -}}
{{- end -}}
{{- if not (include "llamacpp-app.serves" (dict "ctx" $ "api" $api)) -}}
{{- $problems = append $problems (printf "ingresses.%s.enabled=true needs server.%s=true" $api $api) -}}
{{- end -}}
{{- if not $ingress.hosts -}}
{{- $problems = append $problems (printf "ingresses.%s.enabled=true needs at least one host in ingresses.%s.hosts" $api $api) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.httpRoute.enabled (not (include "llamacpp-app.routePaths" . | fromJsonArray)) -}}
{{- $problems = append $problems "httpRoute: another model's route has all its paths on these hosts already: write httpRoute.hostnames, or httpRoute.paths, into each model's values" -}}
{{- end -}}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) -}}
{{- $problems = append $problems "httpRoute.enabled=true needs a gateway in httpRoute.parentRefs" -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}

{{/* To the API, an empty list of peers or ports is everyone and everything. */}}
{{- define "llamacpp-app.problems.networkPolicy" -}}
{{- $problems := list -}}
{{- range $i, $rule := .Values.networkPolicy.extraEgress -}}
{{- range $key, $list := $rule -}}
{{- if not $list -}}
{{- $problems = append $problems (printf "networkPolicy.extraEgress[%d].%s is empty, which means all: leave it out if that is meant" $i $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $value := list "from" "dns" -}}
{{- range $i, $peer := get $.Values.networkPolicy $value -}}
{{- if not $peer -}}
{{- $problems = append $problems (printf "networkPolicy.%s[%d] selects nothing: write {podSelector: {}} or {namespaceSelector: {}}" $value $i) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}

{{- define "llamacpp-app.problems.scaling" -}}
{{- $problems := list -}}
{{- if and .Values.autoscaling.enabled .Values.autoscaling.external -}}
{{- $problems = append $problems "autoscaling.enabled and autoscaling.external: two autoscalers would fight over the replicas, keep one" -}}
{{- end -}}
{{- with .Values.keda -}}
{{- if .enabled -}}
{{- if $.Values.autoscaling.enabled -}}
{{- $problems = append $problems "autoscaling.enabled and keda.enabled: two autoscalers would fight over the replicas, keep one" -}}
{{- end -}}
{{- if not (or .prometheus.serverAddress .triggers) -}}
{{- $problems = append $problems "keda.enabled=true needs keda.prometheus.serverAddress or keda.triggers" -}}
{{- end -}}
{{- if and (eq (int .minReplicas) 0) (not .triggers) -}}
{{- $problems = append $problems "keda.minReplicas=0: without a pod nobody measures the queue, so nothing would start one: add a trigger from outside to keda.triggers (cron, the ingress's request rate)" -}}
{{- end -}}
{{- if gt (int .minReplicas) (int .maxReplicas) -}}
{{- $problems = append $problems (printf "keda.minReplicas=%d is more than maxReplicas=%d" (int .minReplicas) (int .maxReplicas)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $replicas := .Values.replicaCount | default 1 -}}
{{- if .Values.keda.enabled }}{{ $replicas = .Values.keda.maxReplicas }}{{ end -}}
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
{{- if and .Model (gt (len .Root.Values.models) 1) (le (int $replicas) 1) -}}
{{- if has "ReadWriteOncePod" .Values.persistence.accessModes -}}
{{- $problems = append $problems "persistence.accessModes=ReadWriteOncePod admits one pod, and each model has its own" -}}
{{- else if and (include "llamacpp-app.oneNodeVolume" .) (not .Values.persistence.coLocate) -}}
{{- $problems = append $problems "the servers of several models can't share a ReadWriteOnce claim across nodes: use ReadWriteMany, or persistence.coLocate=true for one node" -}}
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

{{/*
Braces in `extraObjects` that are another language's: chat templates (Jinja), alerts and dashboards (Prometheus, Grafana). Helm
would end with an error of its own that names neither the value nor the way out, and no template can catch it.
*/}}
{{- define "llamacpp-app.problems.objects" -}}
{{- $problems := list -}}
{{- $alone := list "end" "else" "break" "continue" "now" "uuidv4" -}}
{{- range $i, $object := .Values.extraObjects -}}
{{- $text := $object -}}
{{- if not (kindIs "string" $object) }}{{ $text = toYaml $object }}{{ end -}}
{{- $foreign := regexFind `\{%[^\n]{0,40}` $text -}}
{{- $declares := regexMatch `\$(labels|value|externalLabels|externalURL)\s*:=` $text -}}
{{- if not (or $foreign $declares) }}{{ $foreign = regexFind `\{\{-?\s*\$(labels|value|externalLabels|externalURL)\b[^}\n]*\}\}` $text }}{{ end -}}
{{- range regexFindAll `\{\{-?\s*[A-Za-z_][A-Za-z0-9_]*\s*-?\}\}` $text -1 -}}
{{- if and (not $foreign) (not (has (trimAll "{}- " .) $alone)) }}{{ $foreign = . }}{{ end -}}
{{- end -}}
{{- if $foreign -}}
{{- $problems = append $problems (printf "extraObjects[%d] has `%s`, which is no Helm template: put the object into rawObjects, which are rendered as they are" $i (trim $foreign)) -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}
