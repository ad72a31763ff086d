{{- /* A text as pgexporter.conf has it: in quotes where it must be. */}}
{{- define "pgexporter.text" -}}
{{- if regexMatch "^[^#;\"' ]*$" . }}{{ . }}
{{- else if not (contains "\"" .) }}{{ printf "\"%s\"" . }}
{{- else if not (contains "'" .) }}{{ printf "'%s'" . }}
{{- else }}{{ fail (printf "pgexporter.conf has no way to write %s: it holds both kinds of quotes" .) }}
{{- end }}
{{- end }}

{{- /* The keys of [pgexporter], one a line, in the order of their names. */}}
{{- define "pgexporter.mainKeys" -}}
{{- $keys := dict
  "host" "*"
  "unix_socket_dir" "/run/pgexporter"
  "metrics" (int .Values.metrics.port)
  "health" (int .Values.health.port)
  "reload_on_change" (ternary "on" "off" .Values.reloadOnChange)
}}
{{- if .Values.kubernetes.enabled }}
{{- $_ := set $keys "kubernetes" "on" }}
{{- with .Values.kubernetes.namespaces }}{{ $_ := set $keys "kubernetes_namespaces" (join ", " .) }}{{ end }}
{{- with .Values.kubernetes.selector }}{{ $_ := set $keys "kubernetes_selector" (quote .) }}{{ end }}
{{- with .Values.kubernetes.allowedHosts }}{{ $_ := set $keys "kubernetes_allowed_hosts" (join ", " .) }}{{ end }}
{{- if ne .Values.kubernetes.discover "off" }}{{ $_ := set $keys "kubernetes_discover" .Values.kubernetes.discover }}{{ end }}
{{- if include "pgexporter.sharded" . }}{{ $_ := set $keys "kubernetes_shards" "lease" }}{{ end }}
{{- else }}
{{- $_ := set $keys "kubernetes" "off" }}
{{- end }}
{{- if or .Values.customMetrics.files .Values.customMetrics.configMaps }}
{{- $_ := set $keys "metrics_path" "/etc/pgexporter-metrics" }}
{{- end }}
{{- if .Values.metrics.tls.secretName }}
{{- $_ := set $keys "metrics_cert_file" "/etc/pgexporter/tls/metrics/tls.crt" }}
{{- $_ := set $keys "metrics_key_file" "/etc/pgexporter/tls/metrics/tls.key" }}
{{- if .Values.metrics.tls.clientCASecretName }}
{{- $_ := set $keys "metrics_ca_file" "/etc/pgexporter/tls/metrics-clients/ca.crt" }}
{{- end }}
{{- end }}
{{- if .Values.management.enabled }}
{{- $_ := set $keys "management" (int .Values.management.port) }}
{{- if .Values.management.tls.secretName }}
{{- $_ := set $keys "tls" "on" }}
{{- $_ := set $keys "tls_cert_file" "/etc/pgexporter/tls/management/tls.crt" }}
{{- $_ := set $keys "tls_key_file" "/etc/pgexporter/tls/management/tls.key" }}
{{- if .Values.management.tls.clientCASecretName }}
{{- $_ := set $keys "tls_ca_file" "/etc/pgexporter/tls/management-clients/ca.crt" }}
{{- end }}
{{- end }}
{{- end }}
{{- range $key, $value := .Values.config }}
{{- if kindIs "bool" $value }}
{{- $_ := set $keys $key (ternary "on" "off" $value) }}
{{- else if kindIs "slice" $value }}
{{- $_ := set $keys $key (join ", " $value) }}
{{- else if or (kindIs "float64" $value) (kindIs "int64" $value) }}
{{- $_ := set $keys $key (printf "%v" (int64 $value)) }}
{{- else if kindIs "string" $value }}
{{- $_ := set $keys $key (include "pgexporter.text" $value) }}
{{- end }}
{{- end }}
{{- range $key := keys $keys | sortAlpha }}
{{ $key }} = {{ get $keys $key }}
{{- end }}
{{- end }}

{{- /* pgexporter.conf */}}
{{- define "pgexporter.configuration" -}}
[pgexporter]
{{- include "pgexporter.mainKeys" . }}
{{- range $name := keys .Values.servers | sortAlpha }}
{{- $server := get $.Values.servers $name }}

[{{ $name }}]
host = {{ $server.host }}
port = {{ int ($server.port | default 5432) }}
user = {{ include "pgexporter.text" $server.user }}
{{- with $server.database }}
database = {{ include "pgexporter.text" . }}
{{- end }}
{{- if hasKey $server "tls" }}
tls = {{ $server.tls }}
{{- end }}
{{- if $server.ca }}
tls_ca_file = /etc/pgexporter/servers/{{ $name }}/ca.crt
{{- end }}
{{- if $server.clientCertificateSecret }}
tls_cert_file = /etc/pgexporter/servers/{{ $name }}/tls.crt
tls_key_file = /etc/pgexporter/servers/{{ $name }}/tls.key
{{- end }}
{{- with $server.extensions }}
extensions = {{ join ", " . }}
{{- end }}
{{- if $server.passwordSecret }}
password_file = /etc/pgexporter/servers/{{ $name }}/password
{{- end }}
{{- end }}
{{- end }}

{{- /* What replaces the pods when it changes: keys that a running program does not take over, or
the whole configuration where it does not look for changes. */}}
{{- define "pgexporter.restartChecksum" -}}
{{- if .Values.reloadOnChange }}
{{- $lines := list }}
{{- $restart := .Files.Lines "files/restart-keys.txt" }}
{{- range $line := include "pgexporter.mainKeys" . | splitList "\n" }}
{{- if has (first (splitList " = " $line)) $restart }}
{{- $lines = append $lines $line }}
{{- end }}
{{- end }}
{{- join "\n" $lines | sha256sum }}
{{- else }}
{{- printf "%s%s" (include "pgexporter.configuration" .) (toYaml .Values.customMetrics.files) | sha256sum }}
{{- end }}
{{- end }}
