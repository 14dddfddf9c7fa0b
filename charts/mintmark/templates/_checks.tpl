{{/*
What values must be that a schema cannot say, or not so that people can read it. The program would
refuse the same, but when the replicas start: here it stops `helm install`, with the path.
*/}}
{{- define "mintmark.assertValues" -}}
{{- include "mintmark.assertIssuer" . -}}
{{- include "mintmark.assertTimes" . -}}
{{- include "mintmark.assertSizes" . -}}
{{- include "mintmark.assertRules" . -}}
{{- include "mintmark.assertTokens" . -}}
{{- end -}}

{{/* The program has no right to give a file to another user, nor to a group that is not its own. */}}
{{- define "mintmark.assertTokens" -}}
{{- $paths := dict -}}
{{- range $index, $file := .Values.standalone.tokens -}}
{{- if not (regexMatch "^/run/mintmark/([^/.][^/]*/)?[^/.][^/]*$" .path) -}}
{{- fail (printf "standalone.tokens[%d].path is %s: token files are in /run/mintmark or in one directory below it" $index .path) -}}
{{- else if or (regexMatch "^/run/mintmark/[^/]*\\.sock([./]|$)" .path) (eq .path "/run/mintmark/aws.env") -}}
{{- fail (printf "standalone.tokens[%d].path is %s, which is Mintmark's own" $index .path) -}}
{{- else if hasKey $paths .path -}}
{{- fail (printf "standalone.tokens[%d].path is the path of %s too" $index (get $paths .path)) -}}
{{- end -}}
{{- $_ := set $paths .path (printf "standalone.tokens[%d]" $index) -}}
{{- if not (regexMatch "^0?[46][04]0$" (default "0440" .mode)) -}}
{{- fail (printf "standalone.tokens[%d].mode is %s: 0640 is the most, and its owner reads it" $index .mode) -}}
{{- end -}}
{{- range $key := list "owner" "group" -}}
{{- $id := get $file $key | toString -}}
{{- if and (hasKey $file $key) (ne $id "65532") -}}
{{- fail (printf "standalone.tokens[%d].%s is %s: leave it out, for only 65532, which Mintmark runs as, can have the file; the workload reads it by the pod's fsGroup, and its rule matches unix:uid:65532" $index $key $id) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "mintmark.assertIssuer" -}}
{{- $issuer := .Values.issuer -}}
{{- if hasKey .Values.extra.settings "issuer" -}}
{{- fail "extra.settings.issuer: set issuer, which hosts and paths of the chart go by" -}}
{{- end -}}
{{- if not $issuer -}}
{{- fail "issuer is required: --set issuer=https://id.example.com, a URL that relying parties can reach" -}}
{{- else -}}
{{- $url := urlParse $issuer -}}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" -}}
{{- $host := trimSuffix (printf ":%s" $port) $url.host -}}
{{- if or (eq $port "443") (contains "/.well-known" $issuer) (regexMatch "/\\.{1,2}(/|$)" $url.path) (hasPrefix "0" $port) -}}
{{- fail "issuer must be in normal form: without :443, and without .well-known, . or .. in its path" -}}
{{- end -}}
{{- if gt (default "1" $port | int) 65535 -}}
{{- fail (printf "issuer: %s is no port" $port) -}}
{{- end -}}
{{- if regexMatch "(^|\\.)[0-9]+$" $host -}}
{{- if not (regexMatch "^((25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])(\\.|$)){4}$" $host) -}}
{{- fail (printf "issuer: %s is no address" $host) -}}
{{- end -}}
{{- else if not (regexMatch "^(\\[[0-9a-f:.]+\\]|[a-z0-9]([a-z0-9-]*[a-z0-9])?(\\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*)$" $host) -}}
{{- fail (printf "issuer: %s is no host" $host) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* `90s` in seconds; the schema has looked at its form. */}}
{{- define "mintmark.seconds" -}}
{{ mul (trimAll "smhd" . | int64) (dict "s" 1 "m" 60 "h" 3600 "d" 86400 | dig (trimAll "0123456789" .) 1) }}
{{- end -}}

{{/* (path, duration, least, most): the bounds that the program has. */}}
{{- define "mintmark.assertDuration" -}}
{{- $seconds := include "mintmark.seconds" (index . 1) | int64 -}}
{{- if or (lt $seconds (include "mintmark.seconds" (index . 2) | int64)) (gt $seconds (include "mintmark.seconds" (index . 3) | int64)) -}}
{{- fail (printf "%s must be %s to %s, not %s" (index . 0) (index . 2) (index . 3) (index . 1)) -}}
{{- end -}}
{{- end -}}

{{- define "mintmark.assertTimes" -}}
{{- include "mintmark.assertDuration" (list "keys.rotateEvery" .Values.keys.rotateEvery "24h" "365d") -}}
{{- include "mintmark.assertDuration" (list "keys.publishAtLeast" .Values.keys.publishAtLeast "24h" "365d") -}}
{{- include "mintmark.assertDuration" (list "public.cacheFor" .Values.public.cacheFor "1s" "24h") -}}
{{- include "mintmark.assertDuration" (list "stopWithin" .Values.stopWithin "0s" "10m") -}}
{{- $published := include "mintmark.seconds" .Values.keys.publishAtLeast | int64 -}}
{{- if gt $published (include "mintmark.seconds" .Values.keys.rotateEvery | int64) -}}
{{- fail "keys.publishAtLeast is longer than keys.rotateEvery: a key cannot be published so long before it signs" -}}
{{- end -}}
{{- if lt $published (mul 2 (include "mintmark.seconds" .Values.public.cacheFor | int64)) -}}
{{- fail "keys.publishAtLeast is shorter than twice public.cacheFor" -}}
{{- end -}}
{{- if le (int64 .Values.terminationGracePeriodSeconds) (add .Values.drainSeconds (include "mintmark.seconds" .Values.stopWithin | int64)) -}}
{{- fail "terminationGracePeriodSeconds must be more than drainSeconds and stopWithin together" -}}
{{- end -}}
{{- range $index, $rule := .Values.rules -}}
{{- $ttl := default "10m" .ttl -}}
{{- $maxTtl := default $ttl .maxTtl -}}
{{- include "mintmark.assertDuration" (list (printf "rules[%d].ttl" $index) $ttl "60s" "24h") -}}
{{- include "mintmark.assertDuration" (list (printf "rules[%d].maxTtl" $index) $maxTtl "60s" "24h") -}}
{{- if lt (include "mintmark.seconds" $maxTtl | int64) (include "mintmark.seconds" $ttl | int64) -}}
{{- fail (printf "rules[%d].maxTtl is shorter than its ttl" $index) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A quantity of Kubernetes as a number. */}}
{{- define "mintmark.quantity" -}}
{{- $text := toString . -}}
{{- $unit := regexFind "[A-Za-z]+$" $text -}}
{{- $factors := dict "" 1.0 "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 "Pi" 1125899906842624.0 "Ei" 1152921504606846976.0 -}}
{{ mulf (trimSuffix $unit $text | float64) (get $factors $unit) }}
{{- end -}}

{{/* (path, resources): a request above its limit is refused by the API server, in every pod. */}}
{{- define "mintmark.assertResources" -}}
{{- $path := index . 0 -}}
{{- $resources := default dict (index . 1) -}}
{{- $limits := default dict $resources.limits -}}
{{- range $name, $request := default dict $resources.requests -}}
{{- if hasKey $limits $name -}}
{{- $limit := get $limits $name -}}
{{- if gt (include "mintmark.quantity" $request | float64) (include "mintmark.quantity" $limit | float64) -}}
{{- fail (printf "%s.requests.%s is %v and above the limit of %v: no pod could start" $path $name $request $limit) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "mintmark.assertSizes" -}}
{{- include "mintmark.assertResources" (list "resources" .Values.resources) -}}
{{- include "mintmark.assertResources" (list "standalone.resources" .Values.standalone.resources) -}}
{{- include "mintmark.assertResources" (list "sidecar.resources" .Values.sidecar.resources) -}}
{{- with (default dict (default dict .Values.sidecar.resources).limits).memory -}}
{{- if lt (include "mintmark.quantity" . | float64) (include "mintmark.quantity" "32Mi" | float64) -}}
{{- fail (printf "sidecar.resources.limits.memory is %v: 32Mi is the least that it runs with" .) -}}
{{- end -}}
{{- end -}}
{{- with .Values.sidecar.statusListen -}}
{{- $port := regexFind "[0-9]+$" . | int -}}
{{- if or (lt $port 1024) (gt $port 65535) (regexMatch "(^|\\.)(0[0-9]|[3-9][0-9][0-9]|2[6-9][0-9]|25[6-9])" (regexFind "^[0-9.]+" .)) -}}
{{- fail (printf "sidecar.statusListen must be an IP address and a port from 1024 on, not %s" .) -}}
{{- end -}}
{{- end -}}
{{- if lt (int .Values.private.maxConnections) (int .Values.private.maxConnectionsPerAddress) -}}
{{- fail "private.maxConnectionsPerAddress is above private.maxConnections" -}}
{{- end -}}
{{- if eq (int .Values.private.port) 9464 -}}
{{- fail "private.port is 9464, which the Service has for the status pages" -}}
{{- end -}}
{{- if gt (len .Values.fullnameOverride) 52 -}}
{{- fail "fullnameOverride may have 52 characters: objects have names with more behind it" -}}
{{- end -}}
{{- end -}}
