hf_unit_test(journal_txn journal)
hf_unit_test(journal_recover journal)
hf_unit_test(journal_threads journal concurrent)
hf_unit_test(journal_crash journal novalgrind)
