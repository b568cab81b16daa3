"""What each service of a project is told: the specifications that the workflow deploys."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from flops.project.deployment import App, Placement, Role, ServiceSpec
from flops.project.images import actor_image, trained_model_image
from flops.project.state import OBSERVATORY, Phase, tracking_service_name

if TYPE_CHECKING:
    from flops.project.state import Project


def observer(project: Project) -> ServiceSpec:
    """The project's observer, in the user's observatory."""
    return ServiceSpec(
        name=project.service_name(Role.OBSERVER),
        app=project.observatory,
        role=Role.OBSERVER,
        config={"project_app": project.app.name, "verbose": bool(project.sla.get("verbose", False))},
        project_id=project.id,
    )


def tracking_server(user: str) -> ServiceSpec:
    """The user's one tracking server; deployed again it stays as it is."""
    return ServiceSpec(name=tracking_service_name(user), app=App(user, OBSERVATORY), role=Role.TRACKING)


def actor_builder(project: Project) -> ServiceSpec:
    """The builder of the actors' images."""
    images = {str(actor): _image(project, actor) for actor in (Role.LEARNER, Role.AGGREGATOR)}
    return ServiceSpec(
        name=project.service_name(Role.BUILDER),
        app=project.app,
        role=Role.BUILDER,
        config={
            "purpose": "actors",
            "url": project.ml_repo_url,
            "commit": project.commit,
            "flavor": _flavor(project),
            "images": images,
        },
        project_id=project.id,
    )


def aggregator(project: Project) -> ServiceSpec:
    """The aggregator, which knows the learners and where to log."""
    training: dict[str, Any] = project.sla["training_configuration"]
    return ServiceSpec(
        name=project.service_name(Role.AGGREGATOR),
        app=project.app,
        role=Role.AGGREGATOR,
        image=_image(project, Role.AGGREGATOR),
        config={
            "rounds": training["training_rounds"],
            "cycles": training["training_cycles"],
            "strategy": training["strategy"],
            "min_available_clients": training["min_available_clients"],
            "min_fit_clients": training["min_fit_clients"],
            "min_evaluate_clients": training["min_evaluate_clients"],
            "learners": list(project.learners),
            "flavor": _flavor(project),
            "commit": project.commit,
            "sla": project.sla,
            "tracking_service": f"{tracking_service_name(project.user)}.0",
            "former": [f"{name}.0" for name in project.former_aggregators],
            "deploy_deadline_s": (project.sla.get("deadlines") or {}).get("deploying", 0),
        },
        resources=project.resources,
        project_id=project.id,
    )


def learners(project: Project) -> ServiceSpec:
    """One learner instance per chosen node; those on one node get disjoint shares of its data."""
    training: dict[str, Any] = project.sla["training_configuration"]
    shares = Counter(project.nodes)
    placements = tuple(
        Placement(node, {"share": project.nodes[:index].count(node), "shares": shares[node]})
        for index, node in enumerate(project.nodes)
    )
    return ServiceSpec(
        name=project.service_name(Role.LEARNER),
        app=project.app,
        role=Role.LEARNER,
        image=_image(project, Role.LEARNER),
        config={
            "data_tags": training["data_tags"],
            "flavor": _flavor(project),
            "aggregator": f"{project.service_name(Role.AGGREGATOR)}.0",
        },
        placements=placements,
        resources=project.resources,
        project_id=project.id,
    )


def model_builder(project: Project) -> ServiceSpec:
    """The builder of the trained model's image."""
    return ServiceSpec(
        name=project.service_name(Role.BUILDER, purpose="trained-model"),
        app=project.app,
        role=Role.BUILDER,
        config={
            "purpose": "trained-model",
            "image": trained_model_image(project.ml_repo_url, project.id),
            "base_image": _image(project, Role.AGGREGATOR),
            "model_uri": project.model_uri,
            "tracking_service": f"{tracking_service_name(project.user)}.0",
        },
        project_id=project.id,
    )


def inference_server(project: Project) -> ServiceSpec:
    """The server of the trained model, which stays when the project has ended."""
    return ServiceSpec(
        name=project.service_name(Role.INFERENCE),
        app=project.app,
        role=Role.INFERENCE,
        config={"start_deadline_s": project.limit_s(Phase.SERVING)},
        image=trained_model_image(project.ml_repo_url, project.id),
        resources=project.resources,
        project_id=project.id,
    )


def _image(project: Project, actor: Role) -> str:
    return actor_image(project.ml_repo_url, actor, project.commit)


def _flavor(project: Project) -> str:
    return str(project.sla["ml_model_flavor"])
