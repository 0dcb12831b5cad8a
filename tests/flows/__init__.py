"""The flows of each CI provider, executed: by nektos/act, gitlab-ci-local, and a runner for Azure Pipelines."""
