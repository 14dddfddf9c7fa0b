"""Becomes a program on a kernel that has no SO_PEERPIDFD."""
import errno
import os
import sys

from kit import deny_option

deny_option(77, errno.ENOPROTOOPT)
os.execv(sys.argv[1], sys.argv[1:])
