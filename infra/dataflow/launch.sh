#!/usr/bin/env bash
# Extract the regions of an archive on Dataflow:
#   infra/dataflow/launch.sh PROJECT REGION BUCKET IMAGE --images gs://photos --output gs://tables/regions [options]
# GPU=nvidia-tesla-t4 puts one on each machine; MACHINE=<type> and MAX=<number> size the pool.
# Without a network: add --dry-run, which builds the whole graph and submits nothing.
set -euo pipefail
[ $# -ge 6 ] || { sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2; }
project=$1 region=$2 bucket=$3 image=$4
shift 4

options=(
  --runner=DataflowRunner --project="$project" --region="$region"
  --temp_location="gs://$bucket/dataflow/temp" --staging_location="gs://$bucket/dataflow/staging"
  # vsalign, its weights and Beam are in the image: a worker installs nothing, and all have the same versions.
  --sdk_container_image="$image"
  # A shard takes half a minute, so machines are added by the backlog of shards, up to this many.
  --autoscaling_algorithm=THROUGHPUT_BASED --max_num_workers="${MAX:-100}"
  # Tables and temporary files are in the bucket; a machine keeps little.
  --disk_size_gb=50
  # Machines talk to the bucket alone: no address of their own (needs Private Google Access in the subnetwork).
  --no_use_public_ips
  # The command leaves; the job's own last step writes the manifest.
  --detach
)
if [ -n "${GPU:-}" ]; then
  options+=(
    --machine_type="${MACHINE:-n1-standard-8}"
    --dataflow_service_options="worker_accelerator=type:$GPU;count:1;install-nvidia-driver"
    # One process a machine: each would hold a network of its own on the GPU.
    --experiments=no_use_multiple_sdk_containers
    # Two shards at once: one is decoded while the other is on the GPU.
    --number_of_worker_harness_threads=2
    # This machine may have no GPU, and would choose ONNX Runtime, which is for CPUs.
    --extractor.runtime torch
  )
else
  options+=(
    --machine_type="${MACHINE:-n2d-standard-8}"
    # Beam starts a process a vCPU; each has one shard and one thread at a time, or twelve shards would share its memory.
    --number_of_worker_harness_threads=1 --threads 1
  )
fi
exec "${PYTHON:-python3}" -m pipelines.extract_regions "${options[@]}" "$@"
