variable "tracking_uri" {
  description = "The address of the MLflow server, as pods and people reach it; null if the code host's variable MLFLOW_TRACKING_URI says it."
  type        = string
  default     = null

  validation {
    condition     = var.tracking_uri == null || can(regex("^https?://[^@]+$", var.tracking_uri))
    error_message = "tracking_uri is an address without a password: all who may look at a pod would read it."
  }
}

variable "pod_environment" {
  description = "Variables of every pod, such as AWS_ENDPOINT_URL and AWS_REGION of an object store; nothing secret."
  type        = map(string)
  default     = {}
}

variable "service_account_annotations" {
  description = "Annotations of the service accounts serving, training and scoring: by them a cloud gives their pods a login to the object store."
  type        = map(map(string))
  default     = {}

  validation {
    condition     = length(setsubtract(keys(var.service_account_annotations), ["serving", "training", "scoring"])) == 0
    error_message = "service_account_annotations has serving, training and scoring, and no other."
  }
}

variable "image_pull_secret" {
  description = "A Secret, in each namespace, with the login to the registry of images; null where the nodes may read it."
  type        = string
  default     = null
}

variable "queue" {
  description = "The LocalQueue of Kueue in which jobs wait; null without Kueue."
  type        = string
  default     = null
}

variable "kubeflow" {
  description = "Where Kubeflow Pipelines answers in the cluster, as NAMESPACE/SERVICE:PORT, such as kubeflow/ml-pipeline:8888; null without it. Its namespace needs a service account training."
  type        = string
  default     = null

  validation {
    condition     = var.kubeflow == null || can(regex("^[a-z0-9-]+/[a-z0-9-]+:[a-z0-9]+$", var.kubeflow))
    error_message = "kubeflow is a namespace, a service and its port, such as kubeflow/ml-pipeline:8888."
  }
}

variable "username_prefix" {
  description = "What the API server puts before the subject of the code host's tokens: --oidc-username-prefix, or the expression in its AuthenticationConfiguration."
  type        = string
  default     = "ci:"
}

variable "audience_separator" {
  description = "What the API server puts between the subject and the audience of a token, where the code host tells a job's purpose by the audience."
  type        = string
  default     = " for "
}

variable "reachable" {
  description = "Addresses that pods may reach beside the cluster's names: the object store, the MLflow server, the registry's tables."
  type        = list(string)
  default     = ["0.0.0.0/0"]
}

variable "callers" {
  description = "Labels of the namespaces whose pods may ask the service, such as that of the ingress controller."
  type        = map(string)
  default     = { "kubernetes.io/metadata.name" = "ingress-nginx" }
}

variable "monitors" {
  description = "Labels of the namespaces whose pods may read the service's metrics."
  type        = map(string)
  default     = { "kubernetes.io/metadata.name" = "monitoring" }
}

variable "api_servers" {
  description = "Addresses from which the API server reaches pods: trials and the verb status ask the service that way. Empty where it comes through kube-system."
  type        = list(string)
  default     = []
}

variable "quota" {
  description = "What the pods of one namespace may ask for together."
  type        = map(string)
  default = {
    "requests.cpu"    = "32"
    "requests.memory" = "64Gi"
    "limits.memory"   = "64Gi"
    "pods"            = "50"
  }
}
