{{/* What differs between vendors of GPUs. A value at NVIDIA's default counts as not set for the others. */}}

{{/*
A vendor's row as JSON: the device plugin's resource, the taint of its nodes, the flavour of llama.cpp's image, the
RuntimeClass, the class of its DRA driver, the groups that own its device files (video, and render on Debian, on Ubuntu
22.04 and on Ubuntu 24.04), and the caches that its driver keeps in the home directory.
*/}}
{{- define "llamacpp-app.vendorRow" -}}
{{- $groups := list 44 105 109 992 -}}
{{- $mesa := dict "MESA_SHADER_CACHE_DIR" "/tmp/mesa" "XDG_CACHE_HOME" "/tmp/cache" -}}
{{- $rows := dict
    "nvidia" (dict "resource" "nvidia.com/gpu" "taint" "nvidia.com/gpu" "flavour" "server-cuda" "runtime" "nvidia"
      "class" "gpu.nvidia.com" "groups" list "env" (dict "CUDA_CACHE_PATH" "/tmp/cuda"))
    "amd" (dict "resource" "amd.com/gpu" "taint" "amd.com/gpu" "flavour" "server-rocm" "runtime" ""
      "class" "gpu.amd.com" "groups" $groups "env" (dict "AMD_COMGR_CACHE_DIR" "/tmp/comgr"))
    "intel" (dict "resource" "gpu.intel.com/i915" "taint" "gpu.intel.com/i915" "flavour" "server-intel" "runtime" ""
      "class" "gpu.intel.com" "groups" $groups "env" (dict "SYCL_CACHE_DIR" "/tmp/sycl" "NEO_CACHE_DIR" "/tmp/neo"))
    "vulkan" (dict "resource" "" "taint" "" "flavour" "server-vulkan" "runtime" ""
      "class" "" "groups" $groups "env" $mesa)
    "cpu" (dict "resource" "" "taint" "" "flavour" "server" "runtime" ""
      "class" "" "groups" list "env" dict) -}}
{{- get $rows . | toJson -}}
{{- end -}}

{{/* The vendor's row with the user's values over it, as JSON. */}}
{{- define "llamacpp-app.gpu" -}}
{{- $gpu := .Values.gpu -}}
{{- $row := include "llamacpp-app.vendorRow" $gpu.vendor | fromJson -}}
{{- $nvidia := include "llamacpp-app.vendorRow" "nvidia" | fromJson -}}
{{- $set := dict
    "resource" $gpu.nvidiaResource
    "flavour" .Values.images.server.name
    "runtime" .Values.runtimeClassName
    "class" $gpu.dra.deviceClassName -}}
{{- range $key, $value := $set -}}
{{- if or (ne $value (get $nvidia $key)) (eq $gpu.vendor "nvidia") -}}
{{- $_ := set $row $key $value -}}
{{- end -}}
{{- end -}}
{{- with $gpu.resource }}{{ $_ := set $row "resource" . }}{{ end -}}
{{- with $gpu.deviceGroups }}{{ $_ := set $row "groups" . }}{{ end -}}
{{- if or (eq $gpu.vendor "cpu") (not $gpu.enabled) -}}
{{- $row = merge (dict "resource" "" "taint" "" "runtime" "" "groups" list) (omit $row "resource" "taint" "runtime" "groups") -}}
{{- end -}}
{{- toJson $row -}}
{{- end -}}

{{/* "true" when pods go to nodes with a GPU. */}}
{{- define "llamacpp-app.usesGpu" -}}
{{- if and .Values.gpu.enabled (ne .Values.gpu.vendor "cpu") -}}true{{- end -}}
{{- end -}}
