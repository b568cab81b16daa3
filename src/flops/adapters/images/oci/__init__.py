"""Images in an OCI registry, assembled without a daemon."""

from flops.adapters.images.oci.builder import OciImageBuilder, OciPlan
from flops.adapters.images.oci.registry import OciRegistry

__all__ = ["OciImageBuilder", "OciPlan", "OciRegistry"]
