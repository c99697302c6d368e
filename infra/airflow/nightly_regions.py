"""Every night: the regions of what is new in the archive, on Dataflow, and the descriptions of it, on Kubernetes.

An Airflow DAG. It is safe to run twice, or late: `--refresh` extracts what the table does not list yet, and a run that
was cut short is gone on with by the next. The variables project, region, bucket and image are Airflow's.
"""

from __future__ import annotations

import pendulum
from airflow.providers.cncf.kubernetes.operators.resource import KubernetesCreateResourceOperator
from airflow.providers.google.cloud.operators.dataflow import DataflowStartFlexTemplateOperator
from airflow.sdk import DAG

with DAG(
    "vsalign_nightly_regions",
    schedule="0 2 * * *",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,  # a night that was missed is in the next: what is new is new since the last plan, not since a date
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": pendulum.duration(minutes=10)},
) as dag:
    regions = DataflowStartFlexTemplateOperator(
        task_id="extract_regions",
        project_id="{{ var.value.project }}",
        location="{{ var.value.region }}",
        deferrable=True,
        body={
            "launchParameter": {
                "jobName": "vsalign-regions-{{ ds_nodash }}",
                "containerSpecGcsPath": "gs://{{ var.value.bucket }}/templates/extract_regions.json",
                "parameters": {
                    "images": "gs://{{ var.value.bucket }}/photographs",
                    "output": "gs://{{ var.value.bucket }}/regions",
                    "refresh": "true",
                },
                "environment": {
                    "tempLocation": "gs://{{ var.value.bucket }}/dataflow/temp",
                    "sdkContainerImage": "{{ var.value.image }}",
                    "flexrsGoal": "COST_OPTIMIZED",
                },
            }
        },
    )
    descriptions = KubernetesCreateResourceOperator(
        task_id="caption_images",
        yaml_conf_file="caption-images.yaml",  # what `kubectl kustomize` makes of the job
    )
    regions >> descriptions
