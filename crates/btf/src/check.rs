//! Everything that parsing leaves for later: what types refer to.

use crate::{Btf, Error, ErrorKind, Kind, StrOff, Type, TypeId};

impl<'d> Btf<'d> {
    /// Checks every reference of every own type (libbpf: `btf_sanity_check`).
    ///
    /// Afterwards following ids and strings can't fail; cycles are still possible.
    pub fn check(&self) -> Result<(), Error> {
        for id in self.own_ids() {
            self.check_type(&self.resolve(id)?)?;
        }
        Ok(())
    }

    fn check_type(&self, ty: &Type<'_>) -> Result<(), Error> {
        ty.name()?;
        match ty.kind() {
            Kind::Void | Kind::Int | Kind::Fwd | Kind::Float | Kind::Unknown(_) => Ok(()),
            Kind::Ptr | Kind::Typedef | Kind::Volatile | Kind::Const | Kind::Restrict => {
                self.check_id(ty.target()?)
            }
            Kind::Var | Kind::DeclTag | Kind::TypeTag => self.check_id(ty.target()?),
            Kind::Array => {
                let array = ty.array()?;
                self.check_id(array.element)?;
                self.check_id(array.index)
            }
            Kind::Struct | Kind::Union => {
                for member in ty.members() {
                    let member = member?;
                    self.check_element(ty, member.name, member.type_id)?;
                }
                Ok(())
            }
            Kind::Enum | Kind::Enum64 => {
                for index in 0..ty.len() {
                    self.check_element(ty, ty.enumerator(index)?.name, TypeId::VOID)?;
                }
                Ok(())
            }
            Kind::FuncProto => {
                self.check_id(ty.target()?)?;
                for index in 0..ty.len() {
                    let param = ty.param(index)?;
                    self.check_element(ty, param.name, param.type_id)?;
                }
                Ok(())
            }
            Kind::Func => match self.resolve(ty.target()?)?.kind() {
                Kind::FuncProto => Ok(()),
                _other => Err(ErrorKind::FuncWithoutProto(ty.id()).at(ty.offset())),
            },
            Kind::Datasec => {
                for index in 0..ty.len() {
                    self.check_id(ty.var_section(index)?.type_id)?;
                }
                Ok(())
            }
        }
    }

    fn check_id(&self, id: TypeId) -> Result<(), Error> {
        self.resolve(id).map(drop)
    }

    fn check_element(&self, ty: &Type<'_>, name: StrOff, type_id: TypeId) -> Result<(), Error> {
        ty.string(name)?;
        self.check_id(type_id)
    }
}
