"""The training script of each FLARE site: one part of the digits each."""

import nvflare.client as flare
from digits_model import Digits

SITES = 2


def main() -> None:
    """Train and evaluate until the job is over."""
    flare.init()
    share = int(flare.get_site_name().rsplit("-", 1)[-1]) - 1
    digits = Digits(share, SITES)
    while flare.is_running():
        received = flare.receive()
        if received.current_round:
            digits.parameters = [received.params["coef"], received.params["intercept"]]
        loss, accuracy, _ = digits.evaluate()
        examples = digits.fit()
        coefficients, intercepts = digits.parameters
        flare.send(
            flare.FLModel(
                params_type=flare.ParamsType.FULL,
                params={"coef": coefficients, "intercept": intercepts},
                metrics={"accuracy": accuracy, "loss": loss},
                meta={"NUM_STEPS_CURRENT_ROUND": examples},
            )
        )


if __name__ == "__main__":
    main()
