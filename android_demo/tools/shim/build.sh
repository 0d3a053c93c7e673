#!/usr/bin/env bash
# build.sh LIBRARY.so OUT: libc.so, libm.so, libdl.so and liblog.so in OUT, with which glibc loads an x86_64 library made for
# Android. libc.so exports every function that LIBRARY.so needs: bionic.c has those that differ, the rest jumps to glibc.
set -euo pipefail
library=$1 out=$2 here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$out"

special=$(sed -nE 's/^[^ /].*[ *]host_([a-z_A-Z0-9]+)[[(].*/\1/p' "$here/bionic.c" | sort -u)
needed=$(nm -D --undefined-only "$library" | awk '{print $NF}' | grep -v ^_ZN | sed 's/@.*//' | sort -u)
plain=$(comm -13 <(echo "$special") <(echo "$needed"))

{
    echo '.text'
    index=0
    for name in $plain; do
        printf '.globl host_%s\n.type host_%s,@function\nhost_%s: jmp *forwarded+%d(%%rip)\n' "$name" "$name" "$name" $((8 * index))
        printf '.symver host_%s,%s@LIBC\n' "$name" "$name"
        index=$((index + 1))
    done
    printf '.bss\n.globl forwarded\n.hidden forwarded\n.align 8\nforwarded: .zero %d\n' $((8 * index))
    echo '.section .data.rel.ro,"aw"'
    printf '.globl forwarded_names\n.hidden forwarded_names\n.align 8\nforwarded_names:\n'
    for name in $plain; do echo ".quad name_$name"; done
    echo '.quad 0'
    echo '.section .rodata'
    for name in $plain; do printf 'name_%s: .asciz "%s"\n' "$name" "$name"; done
    echo '.section .note.GNU-stack,"",@progbits'
} >"$out/forward.s"
{
    cat "$here/bionic.c"
    for name in $special; do printf '__asm__(".symver host_%s,%s@LIBC");\n' "$name" "$name"; done
} >"$out/bionic.c"
echo 'LIBC { global: *; };' >"$out/versions"

gcc -O2 -Wall -Wextra -fPIC -shared -Wl,-soname,libc.so -Wl,--version-script="$out/versions" \
    -o "$out/libc.so" "$out/bionic.c" "$out/forward.s" -ldl
# The other three only have to exist with the version's name: glibc then finds the functions in libc.so.
for name in libm libdl liblog; do
    echo "int ${name}_of_android;" | gcc -x c -shared -fPIC -Wl,-soname,$name.so -Wl,--version-script="$out/versions" -o "$out/$name.so" -
done
