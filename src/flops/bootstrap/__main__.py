"""``python -m flops.bootstrap ROLE``: what every service process runs."""

import gc
import sys

gc.disable()  # nothing that an import makes is garbage: a tenth of every start

from flops.bootstrap.roles import main  # noqa: E402  see above

gc.freeze()
gc.enable()
sys.exit(main(sys.argv[1]))
