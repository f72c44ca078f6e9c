# The analysers take minutes and both cores.
set_tests_properties(house.analyse PROPERTIES LABELS "house;analyse" PROCESSORS 2 TIMEOUT 1800)
