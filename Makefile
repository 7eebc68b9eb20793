# tapehead. `make help` lists what it can do.
#
#   make MODE=debug     build/debug, with assertions and no optimisation
#   make MODE=asan      build/asan, with AddressSanitizer and UndefinedBehaviorSanitizer
#   make MODE=tsan      build/tsan, with ThreadSanitizer
#   make MODE=coverage  build/coverage, which counts the lines that run
#   make CC=clang       build/release-clang
#   make MPI=1          build/mpi, whose program trains with several processes: docs/mpi.md
#   make ARCH=x86-64-v2 for a processor other than this one
#   make LINK=shared    the program and the examples with libtapehead.so, not with libtapehead.a
#   make WERROR=        for a compiler that warns of more than those it was written with

MODE ?= release
ARCH ?= native
LINK ?= static
WERROR ?= -Werror
CC := $(if $(filter default,$(origin CC)),gcc,$(CC))

# V=1 shows every command in full.
Q := $(if $(V),,@)

name := $(if $(MPI),mpi$(if $(filter release,$(MODE)),,-$(MODE)),$(MODE))$(if $(filter gcc,$(CC)),,-$(notdir $(CC)))
B := build/$(name)

optimise_release := -O3 -g
optimise_debug := -O0 -g
optimise_asan := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
optimise_tsan := -O1 -g -fsanitize=thread
optimise_fuzz := -O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -Wno-pass-failed
optimise_coverage := -O0 -g --coverage -fprofile-update=atomic
optimise := $(optimise_$(MODE))
ifeq ($(optimise),)
$(error MODE is $(MODE): want release, debug, asan, tsan, fuzz or coverage)
endif

# What the library, the program and the tests stand on: pkg-config name, Debian package.
packages := openblas:libopenblas-dev sleef:libsleef-dev libpng:libpng-dev freetype2:libfreetype-dev \
            fontconfig:libfontconfig-dev jansson:libjansson-dev libutf8proc:libutf8proc-dev popt:libpopt-dev \
            criterion:libcriterion-dev
ifdef MPI
packages += ompi-c:libopenmpi-dev command=mpirun:openmpi-bin
endif
modules := $(foreach p,$(packages),$(firstword $(subst :, ,$(p))))
modules := $(filter-out command=%,$(modules))
modules_run := $(filter-out criterion,$(modules))
modules_library := $(filter-out popt,$(modules_run))

warnings := -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes $(WERROR)
# No errno from math functions and no floating-point traps: both would keep loops from vectorising, and
# neither changes a result. Contraction to fused multiply-add is the same on every run of one build.
CFLAGS ?= $(optimise) -march=$(ARCH)
cflags := -std=c11 -D_GNU_SOURCE -Iinclude -fopenmp-simd -ffp-contract=fast -fno-math-errno -fno-trapping-math $(warnings) $(CPPFLAGS) $(CFLAGS)
external = $(shell pkg-config --cflags $(modules) 2>/dev/null)
linked_to = $(LDFLAGS) $(shell pkg-config --libs $(1) 2>/dev/null) -lm -lpthread
libraries = $(call linked_to,$(modules_run))

library_c := $(filter-out src/ranks/$(if $(MPI),alone,mpi).c,$(wildcard src/*/*.c))
program_c := $(wildcard examples/translate/*.c)
single_c := $(wildcard examples/*.c)
# Loaded into the program by the tests that let its calls fail; no part of the tests themselves.
preload_c := tests/fault_preload.c
# Linked into a second program, whose allocations fail.
starved_c := tests/starved.c
test_c := $(filter-out $(preload_c) $(starved_c),$(wildcard tests/*.c tests/translate/*.c))
# What the tests of the program look into.
program_parts := $(addprefix examples/translate/,toy.c data.c batch.c pairs.c settings.c options.c head_list.c \
                 report.c methods.c)
bench_c := $(wildcard bench/*.c)
fuzz_c := $(filter-out tests/fuzz/replay.c,$(wildcard tests/fuzz/*.c))
object = $(patsubst %.c,$(B)/%.o,$(1))

# The version stands in tapehead.h and nowhere else; its first number is what programs are bound to.
version := $(shell sed -n 's/^\#define TH_VERSION "\(.*\)"$$/\1/p' include/tapehead/tapehead.h)
soname := libtapehead.so.$(firstword $(subst ., ,$(version)))

library := $(B)/libtapehead.a
shared := $(B)/libtapehead.so.$(version)
linked := $(if $(filter shared,$(LINK)),$(shared),$(library))
program := $(B)/translate
manual := $(B)/tapehead-translate.1
singles := $(patsubst examples/%.c,$(B)/%,$(single_c))
benches := $(patsubst bench/%.c,$(B)/%,$(bench_c))
tests := $(B)/tests-all
unboxed := $(B)/tests-unboxed
gradcheck := $(B)/gradcheck
report_page := $(B)/report_page
preload := $(B)/fault_preload.so
starved := $(B)/translate-starved
narrow := $(if $(filter x86_64,$(shell uname -m)),$(B)/translate-narrow)
fuzzers := $(patsubst tests/fuzz/%.c,$(B)/fuzz/%,$(fuzz_c))
FUZZ_SECONDS ?= 60

.PHONY: all demo toys check check-report check-mpi faults fuzz coverage covered fuzzers gradcheck bench bench-smoke bench-length asan tsan threaded valgrind format lint product install uninstall reference deb arm64 packages clean help
.DELETE_ON_ERROR:
.SECONDARY:

all: packages
	@$(MAKE) --no-print-directory product $(singles) $(benches)

# What is installed; it asks for no package.
product: $(library) $(shared) $(program) $(manual)

help:
	@echo 'make             build the library, the program translate and the examples'
	@echo 'make demo        train on the reverse task and draw what the heads look at'
	@echo 'make toys        every toy task with every kind of positions, at lengths beyond training: a quarter of an hour'
	@echo 'make check       build and pass the tests'
	@echo 'make check-report  the report of a head study, in a browser, which is a large download'
	@echo 'make check-mpi   training by several processes, with Open MPI: the same bits, killed ranks'
	@echo 'make faults      kill a training, and let it fail, at every single call that it makes'
	@echo 'make fuzz        bytes of all kinds into every reader and the engine, FUZZ_SECONDS=60 each'
	@echo 'make coverage    the lines and branches of src/ that the tests run'
	@echo 'make gradcheck   every op and layer against finite differences'
	@echo 'make bench       time steps, single ops and decoding, beside PyTorch where it is installed, and draw the ratio'
	@echo 'make bench-smoke whether the benchmarks run'
	@echo 'make bench-length  time and memory of attention by the length of a sequence, and draw both in docs/images'
	@echo 'make tsan        the tests of threads under ThreadSanitizer'
	@echo 'make asan        the tests under AddressSanitizer and UndefinedBehaviorSanitizer'
	@echo 'make valgrind    the tests under valgrind'
	@echo 'make lint        clang-tidy and cppcheck'
	@echo 'make format      clang-format'
	@echo 'make install     headers, libraries and program below PREFIX=/usr/local; make uninstall takes them away'
	@echo 'make reference   the reference of the headers, as pages in build/reference'
	@echo 'make deb         packages for Debian, in build/deb'
	@echo 'make arm64       build for arm64 and run tests under qemu'
	@echo 'make clean       remove build/'

packages:
	@scripts/packages.sh $(packages)

# ---- building --------------------------------------------------------------------------------------

$(B)/%.o: %.c Makefile
	@mkdir -p $(@D)
	@echo '  compile $<'
	$(Q)$(CC) $(cflags) $(external) -MMD -MP -c $< -o $@

# One set of objects serves both libraries, at no cost: what no public header declares is called directly.
$(call object,$(library_c)): cflags += -fPIC -fvisibility=hidden -fno-semantic-interposition

$(library): $(call object,$(library_c))
	@rm -f $@
	@echo '  archive $@'
	$(Q)$(AR) rcs $@ $^

$(shared): $(call object,$(library_c))
	@echo '  link    $@'
	$(Q)$(CC) $(cflags) -shared -Wl,-soname,$(soname) $^ $(call linked_to,$(modules_library)) -o $@
	$(Q)ln -sf $(@F) $(@D)/$(soname)

$(program): $(call object,$(program_c)) $(linked)
	@echo '  link    $@'
	$(Q)$(CC) $(cflags) $^ $(libraries) -o $@

$(singles): $(B)/%: $(B)/examples/%.o $(linked)
	@echo '  link    $@'
	$(Q)$(CC) $(cflags) $^ $(libraries) -o $@

$(benches): $(B)/%: $(B)/bench/%.o $(library)
	@echo '  link    $@'
	$(Q)$(CC) $(cflags) $^ $(libraries) -o $@

cases := $(B)/tests/gradcheck/ops.o $(B)/tests/gradcheck/modules.o
# The same tests, where Criterion cannot start them, have a beginning of their own.
$(unboxed): $(B)/tests/unboxed/main.o
$(tests) $(unboxed): $(call object,$(test_c) $(program_parts)) $(cases) $(library)
	@echo '  link    $@'
	$(Q)$(CC) $(cflags) $^ $(libraries) $(shell pkg-config --libs criterion) -ldl -o $@

# Without the sanitizers of MODE=asan: it comes before them.
$(preload): $(preload_c) Makefile
	@mkdir -p $(@D)
	@echo '  link    $@'
	$(Q)$(CC) -std=c11 -D_GNU_SOURCE -O1 -g $(warnings) -fPIC -shared $< -ldl -o $@

wrapped := malloc calloc realloc reallocarray aligned_alloc strdup open_memstream
$(starved): $(call object,$(program_c) $(starved_c)) $(library)
	@echo '  link    $@'
	$(Q)$(CC) $(cflags) $^ $(libraries) $(wrapped:%=-Wl,--wrap=%) -o $@

# A program that takes itself to be built for any x86-64 where it sees to OpenBLAS's kernels.
$(B)/narrow/blas.o: src/tensor/blas.c Makefile
	@mkdir -p $(@D)
	@echo '  compile $<'
	$(Q)$(CC) $(cflags) $(external) -march=x86-64 -MMD -MP -c $< -o $@

$(B)/translate-narrow: $(call object,$(program_c)) $(B)/narrow/blas.o $(library)
	@echo '  link    $@'
	$(Q)$(CC) $(cflags) $^ $(libraries) -o $@

$(gradcheck): $(B)/tests/gradcheck/main.o $(cases) $(library)
	@echo '  link    $@'
	$(Q)$(CC) $(cflags) $^ $(libraries) -o $@

# In MODE=fuzz libFuzzer feeds the targets, else what is in their corpus.
$(B)/tests/fuzz/%.o: cflags += -Itests/fuzz
feeder := $(if $(filter fuzz,$(MODE)),,$(B)/tests/fuzz/replay.o)
$(fuzzers): $(B)/fuzz/%: $(B)/tests/fuzz/%.o $(feeder) $(call object,$(program_parts) examples/translate/lines.c) $(library)
	@mkdir -p $(@D)
	@echo '  link    $@'
	$(Q)$(CC) $(cflags) $(if $(feeder),,-fsanitize=fuzzer) $^ $(libraries) -o $@

# The report's page is embedded as it stands.
$(B)/examples/translate/report.o: $(wildcard examples/translate/report/*)

$(report_page): $(B)/tests/report/main.o $(B)/examples/translate/report.o $(library)
	@echo '  link    $@'
	$(Q)$(CC) $(cflags) $^ $(libraries) -o $@

# It explains itself by the name it is called by.
$(manual): packaging/manual.sh $(program)
	@echo '  write   $@'
	$(Q)ln -sf $(notdir $(program)) $(@:.1=)
	$(Q)LD_LIBRARY_PATH=$(B) packaging/manual.sh $(@:.1=) >$@

-include $(shell find $(B) -name '*.d' 2>/dev/null)

# ---- doing -----------------------------------------------------------------------------------------

demo: packages
	@$(MAKE) --no-print-directory $(program)
	$(program) train --task reverse --out runs/reverse
	@echo
	$(program) heads runs/reverse
	@echo
	@echo 'The heatmaps are in runs/reverse/heatmaps: start with cross_1.png.'
	@echo 'What each head does: open runs/reverse/heads/report.html in a browser.'

toys: packages
	@$(MAKE) --no-print-directory $(program)
	examples/translate/toys.sh $(B)

check: packages
	@scripts/packages.sh command=python3:python3
	@$(MAKE) --no-print-directory product $(tests) $(preload) $(starved) $(narrow) $(singles) $(benches) $(fuzzers)
	tests/run.sh $(B)

# The packages are Debian's, so the Python is, too.
check-report: packages
	@scripts/packages.sh command=chromium:chromium command=chromedriver:chromium-driver python=selenium:python3-selenium
	@$(MAKE) --no-print-directory $(report_page)
	/usr/bin/python3 -B tests/report/browser.py $(report_page)

# Not in check: it takes a minute, and Open MPI.
check-mpi:
	@scripts/packages.sh command=pgrep:procps
	@$(MAKE) --no-print-directory MPI=1 packages
	@$(MAKE) --no-print-directory MPI=1 build/mpi/translate
	tests/mpi.sh build/mpi

faults: packages
	@$(MAKE) --no-print-directory $(tests) $(preload) $(program) $(starved)
	TAPEHEAD_FAULTS=all $(tests) --filter 'translate_@(kill|faults|memory)/*' --jobs 2 --verbose

fuzz: packages
	@scripts/packages.sh command=clang:clang command=llvm-symbolizer-14:llvm-14 file=/usr/lib/llvm-14/lib/clang/14.0.6/lib/linux/libclang_rt.fuzzer-x86_64.a:libclang-rt-14-dev
	@$(MAKE) --no-print-directory MODE=fuzz CC=clang fuzzers
	tests/fuzz/run.sh build/fuzz-clang $(FUZZ_SECONDS)

fuzzers: $(fuzzers)

coverage: packages
	@scripts/packages.sh command=gcovr:gcovr
	@find build/coverage -name '*.gcda' -delete 2>/dev/null || true
	@$(MAKE) --no-print-directory MODE=coverage covered
	gcovr --root . --filter src/ --object-directory build/coverage --sort-percentage --print-summary

# Without the tests in which a process is killed or may not write: it could not write its counts.
covered: $(tests) $(preload) $(program) $(starved) $(gradcheck)
	$(gradcheck) >/dev/null
	$(tests) --jobs 2 --filter '!(translate_faults/*|translate_kill/*|translate_directory/*|translate_memory/*|translate_pairs/a_file_that_may_not_be_read)'

gradcheck: packages
	@scripts/packages.sh command=python3:python3
	@$(MAKE) --no-print-directory $(gradcheck)
	$(gradcheck)

bench: packages
	@scripts/packages.sh command=python3:python3
	@$(MAKE) --no-print-directory $(benches) $(program)
	bench/run.py $(B)

bench-smoke: packages
	@scripts/packages.sh command=python3:python3
	@$(MAKE) --no-print-directory $(benches) $(program)
	bench/run.py $(B) --smoke

bench-length: packages
	@$(MAKE) --no-print-directory $(B)/attention_length
	$(B)/attention_length --csv build/attention-length.csv --picture docs/images/attention-length.png \
	  --memory-picture docs/images/attention-memory.png

asan:
	$(MAKE) MODE=asan check

# What threads are for: the pool, whole trainings on several, two models at once.
tsan: packages
	@$(MAKE) --no-print-directory MODE=tsan threaded

threaded: $(unboxed)
	TSAN_OPTIONS=halt_on_error=1 $(unboxed) --only pool:: --only threads:: --only lsh:: --only attention:: \
	  --only reversible:: --only study_worth:: --only nn_search::

valgrind: packages
	@scripts/packages.sh command=valgrind:valgrind
	@$(MAKE) --no-print-directory MODE=debug ARCH=x86-64-v3 B=build/valgrind build/valgrind/translate
	tests/valgrind.sh build/valgrind

format:
	@scripts/packages.sh command=clang-format:clang-format
	@clang-format -i $(library_c) $(program_c) $(single_c) $(test_c) $(preload_c) $(starved_c) $(bench_c) $(wildcard bench/*.h tests/*/*.c include/*/*.h src/*/*.h src/*/*.inc examples/*/*.h examples/*/*/*.js tests/*.h tests/*/*.h)

lint: packages
	@scripts/packages.sh command=clang-tidy:clang-tidy command=cppcheck:cppcheck
	clang-tidy --quiet $(library_c) $(program_c) $(single_c) -- $(filter-out -Werror,$(cflags)) $(external)
	cppcheck --quiet --std=c11 --enable=warning,performance,portability --error-exitcode=1 --inline-suppr \
	  --suppressions-list=.cppcheck -Iinclude src examples

# ---- installing ------------------------------------------------------------------------------------

PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
MANDIR ?= $(PREFIX)/share/man

headers := $(wildcard include/tapehead/*.h)
# Each is filled in from packaging/NAME.in.
descriptions := pkgconfig/tapehead.pc cmake/tapehead/tapehead-config.cmake cmake/tapehead/tapehead-config-version.cmake
installed = $(headers:include/%=$(INCLUDEDIR)/%) $(BINDIR)/tapehead-translate $(MANDIR)/man1/$(notdir $(manual)) \
  $(addprefix $(LIBDIR)/,libtapehead.a libtapehead.so $(soname) $(notdir $(shared)) $(descriptions))
fill = sed 's|@VERSION@|$(version)|; s|@SONAME@|$(soname)|; s|@LIBDIR@|$(LIBDIR)|; s|@INCLUDEDIR@|$(INCLUDEDIR)|; s|@MODULES@|$(modules_library)|'

install: product
	install -d $(addprefix $(DESTDIR),$(sort $(dir $(installed))))
	install -m 644 $(headers) $(DESTDIR)$(INCLUDEDIR)/tapehead
	install -m 644 $(library) $(shared) $(DESTDIR)$(LIBDIR)
	ln -sf $(notdir $(shared)) $(DESTDIR)$(LIBDIR)/$(soname)
	ln -sf $(soname) $(DESTDIR)$(LIBDIR)/libtapehead.so
	for f in $(descriptions); do $(fill) packaging/$$(basename $$f).in >$(DESTDIR)$(LIBDIR)/$$f; done
	install -m 755 $(program) $(DESTDIR)$(BINDIR)/tapehead-translate
	install -m 644 $(manual) $(DESTDIR)$(MANDIR)/man1

uninstall:
	rm -f $(addprefix $(DESTDIR),$(installed))
	rmdir $(DESTDIR)$(INCLUDEDIR)/tapehead $(DESTDIR)$(LIBDIR)/cmake/tapehead

# ---- packaging -------------------------------------------------------------------------------------

# A warning is an error.
reference:
	@scripts/packages.sh command=doxygen:doxygen
	@mkdir -p build
	VERSION=$(version) doxygen packaging/Doxyfile
	@echo 'The reference is build/reference/index.html.'

# The source package is this tree.
deb:
	@scripts/packages.sh $(filter-out criterion:%,$(packages)) command=dh:debhelper command=lintian:lintian command=fakeroot:fakeroot
	rm -rf build/deb
	mkdir -p build/deb/tapehead-$(version)
	tar --exclude-vcs --exclude-vcs-ignores --exclude=./runs --exclude=./build -c . | tar -x -C build/deb/tapehead-$(version)
	cd build/deb/tapehead-$(version) && env -u MAKEFLAGS -u MAKELEVEL dpkg-buildpackage -us -uc
	lintian --fail-on error,warning build/deb/*.changes

arm64:
	@scripts/packages.sh command=aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu file=/usr/aarch64-linux-gnu/lib/crt1.o:libc6-dev-arm64-cross command=qemu-aarch64:qemu-user
	+packaging/arm64.sh $(foreach p,$(packages),$(lastword $(subst :, ,$(p))))

clean:
	rm -rf build
