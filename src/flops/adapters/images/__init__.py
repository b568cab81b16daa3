"""Makes images of ML repositories: the steps that all builders share, ``local`` environments, and ``oci`` images."""
