import sys

from proue.gateway import main

if main.WORKER in sys.argv[1:]:
    main.worker()
else:
    main.main()
