# residet with detectron2's own CUDA operators:
#
#     docker build -t residet .
#     docker run --rm --gpus all --shm-size 8g -v "$PWD:/work" residet train --config-file faster_rcnn_resnet50_fpn --data DIR
#
# --shm-size: the workers that load images hand them over in shared memory. --user "$(id -u):$(id -g)" makes what a run
# writes your own, where your user id is not 1000.

FROM nvidia/cuda:12.8.1-devel-ubuntu24.04 AS build

# detectron2 publishes no releases for present versions of torch: a commit of its main branch, of June 2026.
ARG DETECTRON2=02b5c4e295e990042a714712c21dc79b731e8833
ARG TORCH=2.8.0
ARG TORCHVISION=0.23.0
# Compute capabilities of the GPUs to compile for, as there is no GPU to ask while an image is built.
ARG TORCH_CUDA_ARCH_LIST="7.5;8.0;8.6;8.9;9.0;12.0+PTX"

ENV DEBIAN_FRONTEND=noninteractive PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ git python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/residet
ENV PATH=/opt/residet/bin:$PATH
RUN pip install torch==${TORCH} torchvision==${TORCHVISION} --index-url https://download.pytorch.org/whl/cu128
RUN pip install ninja "setuptools<81" wheel \
    && FORCE_CUDA=1 TORCH_CUDA_ARCH_LIST="${TORCH_CUDA_ARCH_LIST}" pip install --no-build-isolation \
        "detectron2 @ git+https://github.com/facebookresearch/detectron2@${DETECTRON2}"
COPY . /source
RUN pip install "/source[completion]"

# torch brings the CUDA libraries that it needs, so the image that runs has no compiler and no second copy of them.
FROM nvidia/cuda:12.8.1-base-ubuntu24.04

RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/residet /opt/residet
# Ubuntu's image has a user of the id 1000. Caches (matplotlib, torch) go to /tmp, which every user may write to.
ENV PATH=/opt/residet/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1
USER 1000:1000
WORKDIR /work
ENTRYPOINT ["residet"]
CMD ["--help"]
