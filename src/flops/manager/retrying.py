"""From which stage an ended project can go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flops.errors import NotRetryableError
from flops.project.deployment import Role
from flops.project.images import actor_image, trained_model_image
from flops.project.state import STAGES, Phase
from flops.project.workflow import BUILD_MODEL_IMAGE, DEPLOY_MODEL_IMAGE

if TYPE_CHECKING:
    from flops.ports import Registry
    from flops.project.state import Project

_STAGE_OF: Final = {Phase.REQUESTED: Phase.CHECKING, Phase.DEPLOYING: Phase.TRAINING}


def stage_to_retry(project: Project, asked: str, registry: Registry) -> Phase:
    """The stage that was asked for, or else the one in which the project has ended.

    Raises:
        NotRetryableError: the project is under way or completed, or something is missing that the stage needs.
    """
    if project.phase not in {Phase.FAILED, Phase.CANCELLED}:
        is_completed = project.phase is Phase.COMPLETED
        remedy = "Start a new project instead." if is_completed else "Only what has failed or was cancelled can be."
        raise NotRetryableError(project.id, f"it is {project.phase}", remedy=remedy)
    ended_in = Phase(project.failed_stage or Phase.CHECKING)
    stage = Phase(asked) if asked else _STAGE_OF.get(ended_in, ended_in)
    missing = _missing(project, stage, registry)
    if missing:
        earlier = [known for known in STAGES[: STAGES.index(stage)] if not _missing(project, known, registry)]
        remedy = f"Go on from an earlier stage: flops project retry {project.id} --from-stage {earlier[-1]}"
        raise NotRetryableError(project.id, f"the stage '{stage}' needs {missing}", remedy=remedy)
    return stage


def _missing(project: Project, stage: Phase, registry: Registry) -> str:
    """What a stage needs and the project does not have, in words; empty if there is everything."""
    if stage is Phase.CHECKING:
        return ""
    if not (project.commit and project.nodes):
        return "a commit and nodes with data, which were not found yet"
    actors = [actor_image(project.ml_repo_url, actor, project.commit) for actor in (Role.AGGREGATOR, Role.LEARNER)]
    if stage is not Phase.BUILDING and not all(registry.exists(image) for image in actors):
        return "the actors' images, which do not exist (any more)"
    step = {Phase.PACKAGING: BUILD_MODEL_IMAGE, Phase.SERVING: DEPLOY_MODEL_IMAGE}.get(stage, "")
    if step and step not in project.post_training_steps:
        return f"'{step}' among the SLA's post_training_steps"
    if step and not project.model_uri:
        return "a trained model, which there is not yet"
    if stage is Phase.SERVING and not registry.exists(trained_model_image(project.ml_repo_url, project.id)):
        return "the image of the trained model, which does not exist (any more)"
    return ""
