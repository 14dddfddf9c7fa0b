{{/*
What values must be that a schema cannot say, or not so that people can read it. The program would
refuse the same, but when the replicas start: here it stops `helm install`, with the path.
*/}}
{{- define "mintmark.assertValues" -}}
{{- include "mintmark.assertIssuer" . -}}
{{- include "mintmark.assertTimes" . -}}
{{- include "mintmark.assertSizes" . -}}
{{- include "mintmark.assertRules" . -}}
{{- end -}}

{{- define "mintmark.assertIssuer" -}}
{{- $issuer := .Values.issuer -}}
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
{{- $limits := default dict (index . 1).limits -}}
{{- range $name, $request := default dict (index . 1).requests -}}
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
{{- with (default dict .Values.sidecar.resources.limits).memory -}}
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
{{- if gt (len .Values.fullnameOverride) 52 -}}
{{- fail "fullnameOverride may have 52 characters: objects have names with more behind it" -}}
{{- end -}}
{{- end -}}

{{- define "mintmark.assertRules" -}}
{{- $facts := .Files.Get "files/facts.json" | fromJson -}}
{{- $isOwn := or (ne .Values.mode "authority") (not .Values.extra.settings.attestors) -}}
{{- $kinds := get $facts .Values.mode -}}
{{- $names := dict -}}
{{- if include "mintmark.testsEnabled" . -}}
{{- $_ := set $names "helm test" "the chart's own, for helm test (tests.enabled)" -}}
{{- end -}}
{{- range $index, $rule := .Values.rules -}}
{{- $path := printf "rules[%d]" $index -}}
{{- if hasKey $names .name -}}
{{- fail (printf "%s.name is %q as %s: names are unique" $path .name (get $names .name)) -}}
{{- end -}}
{{- $_ := set $names .name $path -}}
{{- if $isOwn -}}
{{- include "mintmark.assertMatch" (dict "path" $path "rule" . "kinds" $kinds "claimed" $facts.claimed "values" $.Values) -}}
{{- include "mintmark.assertFacts" (dict "path" (printf "%s.subject" $path) "text" .subject "kinds" $kinds) -}}
{{- include "mintmark.assertFacts" (dict "path" (printf "%s.claims" $path) "text" (toJson .claims) "kinds" $kinds) -}}
{{- include "mintmark.assertFacts" (dict "path" (printf "%s.principalTags" $path) "text" (toJson .principalTags) "kinds" $kinds) -}}
{{- include "mintmark.assertFacts" (dict "path" (printf "%s.sourceIdentity" $path) "text" (toJson .sourceIdentity) "kinds" $kinds) -}}
{{- end -}}
{{- include "mintmark.assertSubject" (dict "path" $path "rule" . "host" (include "mintmark.fullname" $)) -}}
{{- end -}}
{{- end -}}

{{- define "mintmark.assertMatch" -}}
{{- $claimed := .claimed -}}
{{- $kinds := .kinds -}}
{{- $values := .values -}}
{{- $path := .path -}}
{{- $isProven := false -}}
{{- range $at, $selector := .rule.match -}}
{{- $parts := splitList ":" . -}}
{{- $kind := printf "%s:%s" (index $parts 0) (index $parts 1) -}}
{{- if and (eq $values.mode "authority") (not (has (index $parts 0) (list "k8s" "sidecar"))) -}}
{{- fail (printf "%s.match: the authority knows pods only: %s begins with neither k8s: nor sidecar:" $path .) -}}
{{- else if not (has $kind $kinds) -}}
{{- fail (printf "%s.match[%d]: nobody proves %s; known: %s" $path $at $kind (join " " $kinds)) -}}
{{- end -}}
{{- if not (has $kind $claimed) -}}{{- $isProven = true -}}{{- end -}}
{{- $lists := dict "k8s:pod-label" "labels" "k8s:pod-annotation" "annotations" -}}
{{- if hasKey $lists $kind -}}
{{- $list := get $lists $kind -}}
{{- if not (has (index $parts 2) (default list (get $values.attestor $list))) -}}
{{- fail (printf "%s.match[%d]: %s is not in attestor.%s, so that no rule may name it" $path $at (index $parts 2) $list) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if not $isProven -}}
{{- fail (printf "%s.match rests on nothing but what a sidecar says of its caller: name the pod too, as in k8s:sa:web" $path) -}}
{{- end -}}
{{- end -}}

{{/* The {facts} of a text are such as somebody proves. A doubled brace stands for one. */}}
{{- define "mintmark.assertFacts" -}}
{{- $path := .path -}}
{{- $known := list "host" -}}
{{- range .kinds -}}{{- $known = append $known (replace ":" "." .) -}}{{- end -}}
{{- range regexFindAll "\\{[a-z][A-Za-z0-9_.-]*(:[1-9][0-9]{0,3})?\\}" (.text | replace "{{" "" | replace "}}" "}") -1 -}}
{{- $name := trimAll "{}" . | splitList ":" | first -}}
{{- if not (has $name $known) -}}
{{- fail (printf "%s: nothing is known as {%s}; known: {%s}" $path $name (join "} {" $known)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* At most 127 bytes, whatever the facts are, and no two identities with one subject. */}}
{{- define "mintmark.assertSubject" -}}
{{- $path := .path -}}
{{- $text := .rule.subject | replace "{{" "(" | replace "}}" ")" | replace "{host}" .host -}}
{{- range .rule.match -}}
{{- $parts := splitList ":" . -}}
{{- $fact := printf "%s.%s" (index $parts 0) (index $parts 1) -}}
{{- $text = regexReplaceAllLiteral (printf "\\{%s(:[0-9]+)?\\}" $fact) $text (rest $parts | rest | join ":") -}}
{{- end -}}
{{- $length := regexReplaceAll "\\{[^{}]*\\}" $text "" | len -}}
{{- $lengths := dict "unix.uid" 10 "unix.gid" 10 "unix.sha256" 64 -}}
{{- range regexFindAll "\\{[^{}]*\\}" $text -1 -}}
{{- $parts := trimAll "{}" . | splitList ":" -}}
{{- if not (regexMatch "^\\{[a-z][A-Za-z0-9_.-]*(:[1-9][0-9]{0,3})?\\}$" .) -}}
{{- fail (printf "%s.subject: %s is no variable: write {name} or {name:LENGTH}" $path .) -}}
{{- end -}}
{{- $length = add $length (gt (len $parts) 1 | ternary (last $parts | int) (dig (first $parts) 63 $lengths)) -}}
{{- end -}}
{{- if regexMatch "[{}]" (regexReplaceAll "\\{[^{}]*\\}" $text "") -}}
{{- fail (printf "%s.subject has a lone brace: two of them stand for one" $path) -}}
{{- end -}}
{{- if regexMatch "\\}[^:/|#,;{}]*\\{" $text -}}
{{- fail (printf "%s.subject: a variable follows another without one of : / | # , ; between them" $path) -}}
{{- end -}}
{{- if gt (int $length) 127 -}}
{{- fail (printf "%s.subject could be %d bytes long and 127 is the most: bound a part, as in {name:40}" $path (int $length)) -}}
{{- end -}}
{{- end -}}
