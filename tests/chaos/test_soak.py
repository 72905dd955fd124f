"""Twenty thousand operations, and a new worker after each thousand: no call notices."""

import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))

if __name__ == "__main__":
    sys.exit(subprocess.run([sys.executable, "-B", HERE + "/soak.py", "--calls", "20000",
                             "--recycle-after", "1000"], check=False).returncode)
