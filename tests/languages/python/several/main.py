import os
import sys

from lib.part import word

print(word(), "|".join(sys.argv[1:]), os.environ["GREETING"])
