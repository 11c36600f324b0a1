# A thin front: meson builds, tests/run tests. `make demo` and `make check` also install what they need.

PREFIX ?= /usr/local
MESON_FLAGS ?=

all: build/build.ninja
	@ninja -C build $(NINJA_FLAGS)

build/build.ninja:
	@meson setup build --prefix=$(PREFIX) $(MESON_FLAGS) >/dev/null || \
	    { echo "make: the libraries may be missing: sudo tools/install-deps build" >&2; exit 1; }

demo:
	@tools/install-deps run build image
	@$(MAKE) --no-print-directory all NINJA_FLAGS=--quiet
	@tools/demo

check:
	@tools/install-deps run build image check
	@tests/run

bench:
	@tools/install-deps run build image bench
	@$(MAKE) --no-print-directory all NINJA_FLAGS=--quiet
	@bench/run

install: all
	@meson install -C build --no-rebuild

uninstall:
	@ninja -C build uninstall

clean:
	rm -rf build build-sanitize

.PHONY: all demo check bench install uninstall clean
