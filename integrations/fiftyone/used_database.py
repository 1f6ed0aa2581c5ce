"""Which database FiftyOne uses: it joins any server of its own kind that runs on the machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from integrations.fiftyone.database import VARIABLE, address_of

DIR_VARIABLE = "FIFTYONE_DATABASE_DIR"


@dataclass(frozen=True)
class UsedDatabase:
    """The database that this process is connected to.

    Attributes:
        name: what the server calls it.
        server: where the server listens.
        folder: where the server keeps its files; None where it does not say.
        wanted: the folder that FiftyOne's settings name; None where they name a server.
    """

    name: str
    server: str
    folder: Path | None
    wanted: Path | None

    @property
    def text(self) -> str:
        """In a few words: the database and where it is."""
        where = f", in {self.folder}" if self.folder is not None else ""
        return f"{self.name!r} of the MongoDB server at {self.server}{where}"

    @property
    def warning(self) -> str | None:
        """Why it is not the database that the settings name, and the way out; None where it is."""
        if self.folder is None or self.wanted is None or self.folder.resolve() == self.wanted.resolve():
            return None
        return (
            f"FiftyOne joined a MongoDB server that was running already, with its data in {str(self.folder)!r}, and "
            f"does not use {str(self.wanted)!r} ({DIR_VARIABLE}); end the programs that use that server, or set "
            f"{VARIABLE} to a server of your own"
        )


def used_database() -> UsedDatabase:
    """The database that FiftyOne is connected to; call `integrations.fiftyone.database.connect` first."""
    import fiftyone as fo
    from fiftyone.core.odm.database import get_db_conn

    client = get_db_conn().client
    uri = fo.config.database_uri
    server = address_of(uri) if uri else ":".join(map(str, client.address or ("127.0.0.1",)))
    return UsedDatabase(
        fo.config.database_name, server, _folder_of(client), None if uri else Path(fo.config.database_dir)
    )


def _folder_of(client: object) -> Path | None:
    """The folder that a server was started on; None where it does not say, as a server with users does not."""
    from pymongo import MongoClient
    from pymongo.errors import PyMongoError

    assert isinstance(client, MongoClient)
    try:
        options = client.admin.command("getCmdLineOpts")
    except PyMongoError:
        return None
    folder = options.get("parsed", {}).get("storage", {}).get("dbPath")
    return Path(folder) if folder else None
