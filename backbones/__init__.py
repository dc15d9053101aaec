"""Residual networks: a catalogue of specs, the networks built from them, and their registration with detectron2.

`import backbones.registry` puts every network into detectron2's BACKBONE_REGISTRY.
"""

from backbones._detectron2 import provide_detectron2

# Before any other module of the project runs, so that each may import detectron2 in any order.
provide_detectron2()
