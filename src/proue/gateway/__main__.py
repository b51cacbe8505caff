import sys

from proue.gateway import main

if main.WORKER in sys.argv[1:]:
    main.worker(int(sys.argv[-1]))
else:
    main.main()
