"""The online service: requests in, predictions out, over HTTP.

    schema     what a request must look like, made from the model's signature
    openapi    the same, as a document for people and programs
    protocols  other services' ways to ask: Open Inference Protocol, MLflow, SageMaker, Vertex AI, Azure ML
    models     which models answer: stable and canary, loaded, checked, swapped
    capture    what was asked and answered, kept for the monitor
    metrics    what Prometheus reads
    app        the routes
    server     the process: connections, limits, start and end

It needs the core of this project and the group `online`, so that its image stays small.
"""
