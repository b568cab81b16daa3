"""``python -m flops.bootstrap ROLE``: what every service process runs."""

import sys

from flops.bootstrap.roles import main

sys.exit(main(sys.argv[1]))
