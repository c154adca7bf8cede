from vertebra import open_checkpointer


def test_every_store_opens_twice_and_knows_no_thread(store_url: str) -> None:
    for _ in range(2):
        with open_checkpointer(store_url) as store:
            assert store.saver is store.saver
