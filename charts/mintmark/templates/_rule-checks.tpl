{{/*
What the program would say of rules: core/policy.ts and core/template.ts, in the words of a chart.
test/chart/rules.test.ts holds both to the same.
*/}}
{{- define "mintmark.assertRules" -}}
{{- $settings := .Values.extra.settings -}}
{{- $constants := dict "host" (default (include "mintmark.fullname" .) $settings.host) -}}
{{- range $key, $value := default dict (default dict $settings.doors).fly -}}
{{- if has $key (list "org" "app" "machine" "region") -}}{{- $_ := set $constants (printf "fly.%s" $key) $value -}}{{- end -}}
{{- end -}}
{{/* What other attestors prove, the program knows. */}}
{{- $facts := empty $settings.attestors | ternary (get (.Files.Get "files/facts.json" | fromJson) .Values.mode) dict -}}
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
{{- if $facts -}}
{{- include "mintmark.assertMatch" (dict "path" $path "rule" . "facts" $facts "values" $.Values) -}}
{{- end -}}
{{- $known := merge (include "mintmark.pinnedFacts" .match | fromJson) $constants -}}
{{- $context := dict "facts" $facts "known" $known "constants" $constants "match" .match -}}
{{- range $key := list "subject" "claims" "principalTags" "sourceIdentity" -}}
{{- include "mintmark.assertTexts" (dict "path" (printf "%s.%s" $path $key) "value" (get $rule $key) "context" $context) -}}
{{- end -}}
{{- include "mintmark.assertSubject" (dict "path" (printf "%s.subject" $path) "text" .subject "known" $known) -}}
{{- include "mintmark.assertTags" (dict "path" $path "rule" .) -}}
{{- range $at, $glob := .audiencePatterns -}}
{{- if gt (regexFindAll "\\*\\*?" $glob -1 | len) 4 -}}
{{- fail (printf "%s.audiencePatterns[%d] has more than 4 wildcards" $path $at) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "mintmark.assertMatch" -}}
{{- $path := .path -}}
{{- $facts := .facts -}}
{{- $values := .values -}}
{{- $isProven := false -}}
{{- range $at, $selector := .rule.match -}}
{{- $parts := splitList ":" . -}}
{{- $kind := printf "%s:%s" (index $parts 0) (index $parts 1) -}}
{{- if and (eq $values.mode "authority") (not (has (index $parts 0) (list "k8s" "sidecar"))) -}}
{{- fail (printf "%s.match: the authority knows pods only: %s begins with neither k8s: nor sidecar:" $path .) -}}
{{- else if not (has $kind $facts.kinds) -}}
{{- fail (printf "%s.match[%d]: nobody proves %s; known: %s" $path $at $kind (join " " $facts.kinds)) -}}
{{- end -}}
{{- if not (has $kind $facts.claimed) -}}{{- $isProven = true -}}{{- end -}}
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

{{/* A match as facts, in JSON; of a kind with keys (`jwt:claim:ref:main`) that of the key too. */}}
{{- define "mintmark.pinnedFacts" -}}
{{- $pins := dict -}}
{{- range . -}}
{{- $parts := splitList ":" . -}}
{{- $fact := printf "%s.%s" (index $parts 0) (index $parts 1) -}}
{{- $value := slice $parts 2 -}}
{{- $_ := set $pins $fact (join ":" $value) -}}
{{- if gt (len $value) 1 -}}{{- $_ := set $pins (printf "%s.%s" $fact (first $value)) (rest $value | join ":") -}}{{- end -}}
{{- end -}}
{{- toJson $pins -}}
{{- end -}}

{{/* A template's text, variables and doubled braces, in turn. */}}
{{- define "mintmark.pieces" -}}
{{- regexFindAll "\\{\\{|\\}\\}|\\{[^{}]*\\}|[{}]|[^{}]+" . -1 | toJson -}}
{{- end -}}

{{/* Every text in a value; its keys are none. */}}
{{- define "mintmark.assertTexts" -}}
{{- $path := .path -}}
{{- $context := .context -}}
{{- if kindIs "string" .value -}}
{{- include "mintmark.assertTemplate" (dict "path" .path "text" .value "context" .context) -}}
{{- else if kindIs "slice" .value -}}
{{- range $at, $item := .value -}}
{{- include "mintmark.assertTexts" (dict "path" (printf "%s[%d]" $path $at) "value" $item "context" $context) -}}
{{- end -}}
{{- else if kindIs "map" .value -}}
{{- range $key, $item := .value -}}
{{- include "mintmark.assertTexts" (dict "path" (printf "%s.%s" $path $key) "value" $item "context" $context) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Braces go together, and the {facts} are such as somebody proves. */}}
{{- define "mintmark.assertTemplate" -}}
{{- $path := .path -}}
{{- $context := .context -}}
{{- $claimed := list -}}
{{- range $context.facts.claimed -}}{{- $claimed = append $claimed (replace ":" "." .) -}}{{- end -}}
{{- $names := keys $context.constants | sortAlpha -}}
{{- range $context.facts.kinds -}}
{{- if not (has . $context.facts.plural) -}}{{- $names = append $names (replace ":" "." .) -}}{{- end -}}
{{- end -}}
{{- range include "mintmark.pieces" .text | fromJsonArray -}}
{{- if has . (list "{" "}") -}}
{{- fail (printf "%s has a lone brace: two of them stand for one" $path) -}}
{{- else if and (hasPrefix "{" .) (ne . "{{") -}}
{{- if not (regexMatch "^\\{[a-z][A-Za-z0-9_.-]*(:[1-9][0-9]{0,3})?\\}$" .) -}}
{{- fail (printf "%s: %s is no variable: write {name} or {name:LENGTH}" $path .) -}}
{{- end -}}
{{- $name := trimAll "{}" . | splitList ":" | first -}}
{{- if and $context.facts (not (has $name $names)) -}}
{{- fail (printf "%s: nothing is known as {%s}; known: {%s}" $path $name (join "} {" $names)) -}}
{{- else if and (has $name $claimed) (not (hasKey $context.known $name)) -}}
{{- fail (printf "%s: {%s} is what a sidecar says: only a value that match names may be used" $path $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* At most 127 bytes, whatever the facts are, and no two identities with one subject. */}}
{{- define "mintmark.assertSubject" -}}
{{- $path := .path -}}
{{- $known := .known -}}
{{- $length := 0 -}}
{{- $isAfterVariable := false -}}
{{- range include "mintmark.pieces" .text | fromJsonArray -}}
{{- if not (hasPrefix "{" . | and (ne . "{{")) -}}
{{- $length = add $length (has . (list "{{" "}}") | ternary 1 (len .)) -}}
{{- if regexMatch "[:/|#,;]" . -}}{{- $isAfterVariable = false -}}{{- end -}}
{{- else -}}
{{- $parts := trimAll "{}" . | splitList ":" -}}
{{- $name := first $parts -}}
{{- if eq $name "unix.path" -}}
{{- fail (printf "%s: {unix.path} always has a separator in it: put it into a claim" $path) -}}
{{- else if hasKey $known $name -}}
{{- $value := get $known $name -}}
{{- if regexMatch "[:/|#,;]" $value -}}
{{- fail (printf "%s: {%s} is %q, which has a separator in it" $path $name $value) -}}
{{- else if not (regexMatch "^[!-~]+$" $value) -}}
{{- fail (printf "%s: {%s} is %q, which has a character that is not printable ASCII" $path $name $value) -}}
{{- end -}}
{{- $length = add $length (len $value) -}}
{{- else -}}
{{- if $isAfterVariable -}}
{{- fail (printf "%s: a variable follows another without one of : / | # , ; between them: {%s}" $path $name) -}}
{{- end -}}
{{- $isAfterVariable = true -}}
{{- $own := dict "unix.uid" 10 "unix.gid" 10 "unix.sha256" 64 | dig $name 63 -}}
{{- $length = add $length (gt (len $parts) 1 | ternary (last $parts | int) $own) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if gt (int $length) 127 -}}
{{- fail (printf "%s could be %d bytes long and 127 is the most: bound a part, as in {name:40}" $path (int $length)) -}}
{{- end -}}
{{- end -}}

{{/* AWS takes two names that differ in case only for one. */}}
{{- define "mintmark.assertTags" -}}
{{- $path := .path -}}
{{- $tags := default dict .rule.principalTags -}}
{{- $names := dict -}}
{{- range $tag, $_ := $tags -}}
{{- if hasKey $names (lower $tag) -}}
{{- fail (printf "%s.principalTags has two names that differ in case only: AWS takes them for one" $path) -}}
{{- end -}}
{{- $_ := set $names (lower $tag) true -}}
{{- end -}}
{{- range .rule.transitiveTags -}}
{{- if not (hasKey $tags .) -}}
{{- fail (printf "%s.transitiveTags names %s, which principalTags does not have" $path .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
