# Sourced by the scripts: a virtual environment in .venv with what the lock file names.

fail() {
  printf '%s\n' "$*" >&2
  exit 1
}

find_python() {
  for candidate in "${PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11; do
    if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      printf '%s' "$candidate"
      return
    fi
  done
  fail "hitrate needs Python 3.11 or newer: install it, or name it with PYTHON=..."
}

# install LOCK: installs the lock file's packages and hitrate itself, unless that was done before.
install() {
  local lock="$1" stamp python
  python="$(find_python)" || exit 1
  stamp=".venv/installed-$(basename "$lock" .txt)"
  if [ ! -x .venv/bin/python ]; then
    "$python" -m venv .venv >&2 || fail "The virtual environment could not be created. On Debian or Ubuntu: apt-get install python3-venv"
  fi
  if ! cmp -s "$lock" "$stamp"; then
    echo "Installing $lock into .venv; this happens once." >&2
    # Standard output is kept for what the command itself prints.
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r "$lock" >&2
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable . >&2
    .venv/bin/python -m compileall -q src >&2
    cp "$lock" "$stamp"
  fi
}
