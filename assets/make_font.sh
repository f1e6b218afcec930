#!/bin/sh
# Cuts DejaVu Sans (Debian package fonts-dejavu-core 2.37) down to the characters that figures use, with fonttools' pyftsubset.
# Run in this directory: sh make_font.sh /usr/share/fonts/truetype/dejavu/DejaVuSans.ttf
set -eu
pyftsubset "$1" --unicodes='U+0020-007E,U+00A0-00FF,U+0391-03C9,U+2013,U+2014,U+2018-201D,U+2026,U+2032,U+2070-2089,U+2190-2195,U+2212,U+221A,U+221E,U+2248,U+2260,U+2264,U+2265,U+22C5' \
    --layout-features= --no-hinting --desubroutinize --no-recalc-timestamp --name-IDs='0,1,2,3,4,5,6,13,14' \
    --output-file=DejaVuSans-subset.ttf
