"""Twenty thousand operations, and a new worker after each thousand: no call notices."""

import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))

if __name__ == "__main__":
    sys.exit(subprocess.run([sys.executable, "-B", HERE + "/soak.py", "--calls", "20000",
                             "--recycle-memory", "1"], check=False).returncode)
