{{/* What the objects of this release are called. */}}
{{- define "b24kafka.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* By which labels the pods are found; never changed, since a Deployment's selector cannot be. */}}
{{- define "b24kafka.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "b24kafka.labels" -}}
{{ include "b24kafka.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- define "b24kafka.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "b24kafka.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "b24kafka.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* The Secret that is mounted; empty if none is. */}}
{{- define "b24kafka.secret" -}}
{{- if .Values.secret.existing -}}
{{- .Values.secret.existing -}}
{{- else if .Values.secret.data -}}
{{- include "b24kafka.fullname" . -}}
{{- end -}}
{{- end -}}

{{/* The claim of the registry of files. */}}
{{- define "b24kafka.claim" -}}
{{- default (include "b24kafka.fullname" .) .Values.persistence.existingClaim -}}
{{- end -}}

{{/* The port of an address such as 0.0.0.0:8080. */}}
{{- define "b24kafka.port" -}}
{{- regexFind "[0-9]+$" . -}}
{{- end -}}

{{/* Seconds of config.shutdown.grace, rounded up. */}}
{{- define "b24kafka.graceSeconds" -}}
{{- $grace := .Values.config.shutdown.grace -}}
{{- $number := regexFind "^[0-9]+" $grace | int64 -}}
{{- $unit := regexFind "[a-z]+$" $grace -}}
{{- if eq $unit "ms" -}}{{- div (add $number 999) 1000 -}}
{{- else if eq $unit "m" -}}{{- mul $number 60 -}}
{{- else if eq $unit "h" -}}{{- mul $number 3600 -}}
{{- else -}}{{- $number -}}
{{- end -}}
{{- end -}}

{{/* Turns whole numbers that YAML made floats into integers, within the given table: TOML tells 5 from 5.0. */}}
{{- define "b24kafka.whole" -}}
{{- $table := . -}}
{{- range $key, $value := $table -}}
{{- if kindIs "map" $value -}}
{{- include "b24kafka.whole" $value -}}
{{- else if kindIs "slice" $value -}}
{{- range $value -}}{{- if kindIs "map" . -}}{{- include "b24kafka.whole" . -}}{{- end -}}{{- end -}}
{{- else if kindIs "float64" $value -}}
{{- if eq (floor $value) $value -}}{{- $_ := set $table $key (int64 $value) -}}{{- end -}}
{{- else if kindIs "invalid" $value -}}
{{- $_ := unset $table $key -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The configuration as TOML. */}}
{{- define "b24kafka.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- if eq $config.registry.kind "kafka" -}}{{- $_ := unset $config.registry "path" -}}{{- end -}}
{{- include "b24kafka.whole" $config -}}
{{- toToml $config | trim -}}
{{- end -}}

{{/* The ports of config.kafka.bootstrap_servers, each once. */}}
{{- define "b24kafka.brokerPorts" -}}
{{- $ports := list -}}
{{- range splitList "," .Values.config.kafka.bootstrap_servers -}}
{{- $ports = append $ports (default "9092" (regexFind "[0-9]+$" (regexFind ":[0-9]+$" (trim .)))) -}}
{{- end -}}
{{- $ports | uniq | join "," -}}
{{- end -}}
