EXTRA_DIST += softhsm-conf/make-token.sh softhsm-conf/softhsm2.conf.in
