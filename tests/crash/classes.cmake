# Workloads by name.
add_executable(crash_classes classes.c load.c steps.c jload.c sched.c)
hf_link_up_to(crash_classes crash)
