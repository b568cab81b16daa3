"""Writes the FLARE job of the base case: ``python job.py DIRECTORY ROUNDS``, beside client.py and digits_model.py."""

import sys

from nvflare.app_opt.sklearn.recipes.fedavg import SklearnFedAvgRecipe

directory, rounds = sys.argv[1], int(sys.argv[2])
recipe = SklearnFedAvgRecipe(
    name="digits",
    min_clients=2,
    num_rounds=rounds,
    model_params={"n_classes": 10, "learning_rate": "constant", "eta0": 0.05},
    train_script="client.py",
)
recipe.add_client_file("digits_model.py")
recipe.export(directory)
